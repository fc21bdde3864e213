// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

/// The fuzzers: tests with seeded inputs, or with CDMFS_FUZZER in the environment a program of libFuzzer's:
///
///     CDMFS_FUZZER=1 swift build --sanitize fuzzer --scratch-path .build/fuzzer --product fuzzer
///     CDMFS_FUZZ_PARSER=topology .build/fuzzer/debug/fuzzer -max_total_time=600 corpus/
let fuzzed: [Target.Dependency] = [
    "AttributeTree", "CFuse3", "CURing", "CoherentFS", "CoherentMemory", "CoherentTree", "Fuse", "HMMTestDevice",
    "LinuxSupport", "MachineTopology", "TestSupport", "TraceFormat", "TraceReplay", system,
]
let fuzzer: Target =
    Context.environment["CDMFS_FUZZER"] == nil
    ? .testTarget(
        name: "FuzzTests", dependencies: fuzzed, exclude: ["LibFuzzer.swift"], swiftSettings: settings)
    : .executableTarget(
        name: "fuzzer", dependencies: fuzzed, path: "Tests/FuzzTests", exclude: ["FuzzTests.swift"],
        swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])])

/// The plugin that builds the documentation, for `mount-scripts/documentation` alone: others need not fetch it.
let documentation: [Package.Dependency] =
    Context.environment["CDMFS_DOCUMENTATION"] == nil
    ? [] : [.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0")]

let package = Package(
    name: "cdmfs",
    products: [
        .executable(name: "cdmfs", targets: ["cdmfs"]),
        .library(name: "Charts", targets: ["Charts"]),
        .library(name: "CoherentMemory", targets: ["CoherentMemory", "MachineTopology"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ] + documentation,
    targets: [
        .systemLibrary(name: "CFuse3", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
        .target(name: "CURing", linkerSettings: [.linkedLibrary("uring")]),
        .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CHwloc", pkgConfig: "hwloc", providers: [.apt(["libhwloc-dev"])]),
        .target(name: "CLinux"),
        .target(name: "CListener"),
        .target(name: "LinuxSupport", dependencies: ["CLinux", system], swiftSettings: settings),
        .target(
            name: "MachineTopology",
            dependencies: [
                "CLinux", "LinuxSupport", system,
                .product(name: "TOMLKit", package: "TOMLKit"),
                .product(name: "BitCollections", package: "swift-collections"),
            ],
            swiftSettings: settings),
        .target(
            name: "TopologyImport", dependencies: ["CHwloc", "LinuxSupport", "MachineTopology", system],
            swiftSettings: settings),
        .target(
            name: "CoherentMemory",
            dependencies: [
                "CLinux", "CZlib", "LinuxSupport", "MachineTopology", system,
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: settings),
        .target(
            name: "TraceFormat", dependencies: ["CZlib", "CoherentMemory", system], swiftSettings: settings),
        .target(name: "Charts", swiftSettings: settings),
        .target(
            name: "TraceReport", dependencies: ["Charts", "CoherentMemory", "LinuxSupport", "TraceFormat"],
            swiftSettings: settings),
        .target(
            name: "MachineMonitor", dependencies: ["CLinux", "CoherentMemory", "LinuxSupport", "TraceFormat", system],
            swiftSettings: settings),
        .target(
            name: "TraceReplay",
            dependencies: ["CLinux", "CoherentMemory", "LinuxSupport", "MachineTopology", "TraceFormat", system],
            swiftSettings: settings),
        .target(name: "AttributeTree", dependencies: ["LinuxSupport", system], swiftSettings: settings),
        .target(
            name: "Fuse",
            dependencies: [
                "CFuse3", "CLinux", "CURing", "LinuxSupport", system,
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .target(
            name: "Programs",
            dependencies: ["CListener", "CoherentMemory", "LinuxSupport", "MachineTopology", system],
            swiftSettings: settings),
        .target(
            name: "CoherentTree",
            dependencies: [
                "AttributeTree", "CLinux", "CoherentMemory", "LinuxSupport", "MachineTopology", "TraceFormat", system,
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .target(
            name: "HMMTestDevice",
            dependencies: [
                "AttributeTree", "CLinux", "CoherentMemory", "LinuxSupport", system,
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: settings),
        .target(
            name: "CoherentFS",
            dependencies: [
                "AttributeTree", "CLinux", "CoherentMemory", "CoherentTree", "Fuse", "HMMTestDevice", "LinuxSupport",
                "MachineTopology", "Programs", system,
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "cdmfs",
            dependencies: [
                "CLinux", "CListener", "CSeccomp", "CoherentFS", "CoherentMemory", "Fuse", "LinuxSupport",
                "MachineMonitor", "MachineTopology", "TopologyImport", "TraceFormat", "TraceReplay", "TraceReport",
                system,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "pipeline", dependencies: [system], path: "Sources/Examples/pipeline", swiftSettings: settings),
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
        .testTarget(
            name: "LinuxSupportTests", dependencies: ["LinuxSupport", system], swiftSettings: settings),
        .testTarget(
            name: "MachineTopologyTests", dependencies: ["MachineTopology", system], swiftSettings: settings),
        .testTarget(
            name: "TopologyImportTests", dependencies: ["TopologyImport", "LinuxSupport", "MachineTopology", system],
            swiftSettings: settings),
        .testTarget(
            name: "CoherentMemoryTests", dependencies: ["CoherentMemory", "LinuxSupport", "MachineTopology", system],
            swiftSettings: settings),
        .testTarget(
            name: "TraceFormatTests", dependencies: ["CoherentMemory", "TraceFormat", system],
            swiftSettings: settings),
        .testTarget(name: "ChartsTests", dependencies: ["Charts", "TestSupport"], swiftSettings: settings),
        .testTarget(
            name: "TraceReportTests",
            dependencies: ["Charts", "CoherentMemory", "TestSupport", "TraceFormat", "TraceReport", system],
            swiftSettings: settings),
        .testTarget(
            name: "MachineMonitorTests", dependencies: ["MachineMonitor", "CoherentMemory", "TraceFormat"],
            exclude: ["Frames"],
            swiftSettings: settings),
        .testTarget(
            name: "TraceReplayTests",
            dependencies: [
                "CoherentMemory", "MachineTopology", "TestSupport", "TraceFormat", "TraceReplay", system,
            ],
            swiftSettings: settings),
        .testTarget(
            name: "AttributeTreeTests", dependencies: ["AttributeTree", system], swiftSettings: settings),
        .testTarget(
            name: "FuseTests", dependencies: ["Fuse", "CLinux", "LinuxSupport", system], swiftSettings: settings),
        .testTarget(
            name: "ProgramsTests",
            dependencies: ["Programs", "CListener", "CoherentMemory", "LinuxSupport", "MachineTopology", system],
            swiftSettings: settings),
        .testTarget(
            name: "CoherentTreeTests",
            dependencies: [
                "AttributeTree", "CoherentMemory", "CoherentTree", "LinuxSupport", "MachineTopology", "TestSupport",
                "TraceFormat", system, .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "HMMTestDeviceTests", dependencies: ["HMMTestDevice", "LinuxSupport", system], swiftSettings: settings
        ),
        .testTarget(
            name: "CoherentFSTests",
            dependencies: [
                "CoherentFS", "CoherentMemory", "CoherentTree", "LinuxSupport", "MachineTopology", system,
            ],
            swiftSettings: settings),
        fuzzer,
        .testTarget(
            name: "MountTests",
            dependencies: [
                "cdmfs", "CLinux", "CoherentMemory", "MachineTopology", "TestSupport", "TraceReplay", system,
            ],
            swiftSettings: settings),
    ],
    cxxLanguageStandard: .cxx17
)
