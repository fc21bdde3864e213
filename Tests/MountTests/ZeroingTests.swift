import Foundation
import Testing

extension Mounts {
    /// A frame is zeroed before anybody else sees it.
    @Suite("Zeroing")
    struct ZeroingTests {
        @Test("Old bytes never show, over thousands of reuses", arguments: [("256K", 3000), ("8M", 100)])
        func reuse(length: String, rounds: Int) throws {
            try TestMount.with { mount in
                let outcome = try Client.stale(mount.path + "/buffers", length, rounds, within: 110)
                #expect(outcome["rounds"] == rounds)
            }
        }

        @Test(
            "Frames of a full node read as zeros in the next buffer, on both nodes and through every way to free them")
        func wholeNode() throws {
            try TestMount.with { mount in
                for node in 0...1 {
                    let file = try mount.makeBuffer("old", size: 0, policy: "bind:\(node)")
                    try mount.fill(file)
                    try FileManager.default.removeItem(atPath: file)
                    #expect(try eventually { try mount.meminfo(node)["MemUsed"] == 0 })
                    let new = try mount.makeBuffer("new", size: 240 << 20, policy: "bind:\(node)")
                    try Client.pattern("zeros", new, 0, "240M", 0)
                    try FileManager.default.removeItem(atPath: new)
                    #expect(try eventually { try mount.meminfo(node)["MemUsed"] == 0 })
                }
            }
        }

        @Test("Frames that a migration left behind read as zeros")
        func afterMigration() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 200 << 20)
                try mount.fill(file, limit: 200 << 20)
                try mount.store("1", in: mount.control("a") + "/migrate")
                let new = try mount.makeBuffer("new", size: 240 << 20)
                try Client.pattern("zeros", new, 0, "240M", 0)
            }
        }

        @Test("The tail of the last page is zeros after the file grows again")
        func tail() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 4096)
                try Client.pattern("store", file, 0, 4096, 1)
                for (short, long) in [("100", "4096"), ("5000", "12288")] {
                    for size in [short, long] {
                        let outcome = try run(["truncate", "-s", size, file])
                        #expect(outcome.succeeded, "\(outcome.errors)")
                    }
                }
                let bytes = try #require(FileManager.default.contents(atPath: file))
                #expect(bytes.count == 12288)
                #expect(bytes.dropFirst(100).allSatisfy { $0 == 0 })
            }
        }
    }
}
