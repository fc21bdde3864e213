import Foundation
import Testing

extension Mounts {
    /// What people copy with. The tools and the places stand in Tests/Clients/copying.py.
    @Suite("Copying")
    struct CopyingTests {
        @Test(
            "shutil, cp, mv, rsync and tar copy bytes and attributes, and none of what the mount says of a file",
            arguments: ["tracked", "direct"])
        func matrix(mapping: String) throws {
            let scratch = try makeTemporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: scratch) }
            try TestMount.with(options: ["mapping=" + mapping]) { mount in
                let outcome = try run(
                    [
                        "python3", Client.copying, mount.path + "/buffers", scratch,
                        mount.path + "/sys/kernel/cdm/buffers", mapping,
                    ], within: 200)
                try #require(outcome.succeeded, "\(outcome.errors)")
                let copied = try #require(outcome["copied"])
                // From tracked and from direct, at least.
                #expect(copied >= 128)
            }
        }
    }
}
