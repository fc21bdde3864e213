import Foundation
import SystemPackage
import Testing

/// The pages that show commands: the README and the articles, without the generated reference.
enum Documentation {
    static let articles = Host.package.appending("Sources/CoherentFS/CoherentFS.docc")

    static let pages: [FilePath] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: articles.string)) ?? []
        return [Host.package.appending("README.md")]
            + names.filter { $0.hasSuffix(".md") && $0 != "Reference.md" }.sorted().map { articles.appending($0) }
    }()
}

extension Mounts {
    /// Tests/Clients/documentation.py has the rules by which a block is a session of commands.
    @Suite("Documentation")
    struct DocumentationTests {
        @Test("The commands of a page print what it shows", arguments: Documentation.pages)
        func commands(page: FilePath) throws {
            let scratch = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: scratch) }
            let files = FileManager.default
            for (name, program) in [
                ("cdmfs", Host.cdmfs), ("cdmfs-pipeline", Host.products.appending("pipeline").string),
            ] {
                try files.createSymbolicLink(atPath: "\(scratch)/\(name)", withDestinationPath: program)
            }
            let mountpoint = scratch + "/machine"
            try files.createDirectory(atPath: mountpoint, withIntermediateDirectories: false)
            let outcome = try run(["python3", Client.documentation, scratch, mountpoint, page.string], within: 120)
            #expect(outcome.succeeded, "\(outcome.output)\(outcome.errors)")
        }
    }
}
