// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "Benchmarks",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(name: "cdmfs", path: "../.."),
    ],
    targets: [
        // What is timed: plain C, so that the language of the clients is no part of any figure.
        .target(name: "Clients", linkerSettings: [.linkedLibrary("z")]),
        // The peer of the rows about requests.
        .executableTarget(name: "plainloop", linkerSettings: [.linkedLibrary("fuse3")]),
        // The program of the rows about programs, which runs natively and under `cdmfs run`.
        .executableTarget(name: "memoryloop"),
        .executableTarget(
            name: "Benchmarks",
            dependencies: [
                "Clients",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Charts", package: "cdmfs"),
            ],
            swiftSettings: settings),
        // What needs no mount: `swift run -c release PlacementBenchmark`.
        .executableTarget(
            name: "PlacementBenchmark",
            dependencies: [
                .product(name: "CoherentMemory", package: "cdmfs"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: settings),
    ]
)
