import Foundation
import SystemPackage
import Testing

/// The C programs of Tests/Clients, each compiled once a run.
enum Client: String, CaseIterable {
    case anonymous, asynchronous, calls, dmirror, engine, failing, fault, fsx, guests, hostile, huge, increment, model
    case numa, openmany, pattern, poison, policies, pollpri, pollstorm, rename, scale, share, sigbus, sparse, stale
    case stall, stuck, witness

    private static let sources = Host.package.appending("Tests/Clients")

    private static let compiled: Result<FilePath, any Error> = Result {
        let folder = Host.products.appending("mount-test-clients")
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        for client in allCases {
            let source = sources.appending("\(client.rawValue).c").string
            let program = folder.appending(client.rawValue).string
            let outcome = try run([
                "cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, source, "-Wl,--as-needed",
                "-lnuma", "-luring",
            ])
            guard outcome.succeeded else { throw Failure("\(source): \(outcome.errors)") }
        }
        return folder
    }

    static let copying = sources.appending("copying.py").string
    static let copies = sources.appending("copies.py").string
    static let documentation = sources.appending("documentation.py").string
    static let database = sources.appending("database.py").string
    static let namespaces = sources.appending("namespaces.py").string
    static let memmap = sources.appending("memmap.py").string
    static let metadata = sources.appending("metadata.py").string
    static let tasks = sources.appending("tasks.py").string
    static let terminal = sources.appending("terminal.py").string
    static let names = sources.appending("names.py").string

    /// The command that runs this client.
    func command(_ arguments: [Any]) throws -> [String] {
        try [Client.compiled.get().appending(rawValue).string] + arguments.map { "\($0)" }
    }

    /// Runs the client and expects it to succeed.
    @discardableResult
    func callAsFunction(
        _ arguments: Any..., within seconds: Double = 60, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Outcome {
        let outcome = try run(command(arguments), within: seconds)
        try #require(
            outcome.succeeded, "\(rawValue) \(arguments): \(outcome.errors) \(outcome.ending)",
            sourceLocation: sourceLocation)
        return outcome
    }

    /// Starts the client in the background.
    func start(_ arguments: Any...) throws -> Child {
        try Child(command(arguments))
    }
}
