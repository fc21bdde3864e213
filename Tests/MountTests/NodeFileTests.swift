import CLinux
import Foundation
import SystemPackage
import Testing

private let nodes = "sys/devices/system/node"

extension Mounts {
    /// The smaller directories of a node, as Linux 6.18 shows them.
    @Suite("Files of a node")
    struct NodeFileTests {
        @Test("memory_failure: five counters, read only, also while the node is offline")
        func memoryFailure() throws {
            try TestMount.with { mount throws in
                let names = ["delayed", "failed", "ignored", "recovered", "total"]
                for node in ["node0", "node1"] {
                    let folder = "\(nodes)/\(node)/memory_failure"
                    #expect(try mount.names(in: folder) == names)
                    for name in names {
                        #expect(try mount.text("\(folder)/\(name)") == "0\n")
                        #expect(try mount.entry("\(folder)/\(name)").permissions == 0o444)
                        #expect(throws: Errno.permissionDenied) { try mount.store("0", in: "\(folder)/\(name)") }
                    }
                }
                try mount.store("offline", in: "sys/class/cdm/cdm0/state")
                #expect(try mount.text("\(nodes)/node1/memory_failure/total") == "0\n")
                try mount.store("online", in: "sys/class/cdm/cdm0/state")
            }
        }

        @Test("memory_side_cache: the caches of the topology in the kernel's numbers")
        func memorySideCache() throws {
            let caches = """
                [[node.cache]]
                size = "16M"
                line_size = 128
                indexing = "indexed"
                write_policy = "write-through"
                [[node.cache]]
                level = 3
                size = "1M"

                """
            let parts = Machines.four.components(separatedBy: "[[distance]]")
            let link = "[[node]]\nid = 6\nkind = \"coherent\"\nmemory = \"32M\"\n"
            let topology = parts[0] + link + caches + "[[distance]]" + parts[1...].joined(separator: "[[distance]]")
            try TestMount.with(topology) { mount throws in
                let folder = "\(nodes)/node6/memory_side_cache"
                #expect(try mount.names(in: folder) == ["index1", "index3", "power", "uevent"])
                let figures = [
                    ("index1", ["0x0", "1", "128", "16777216", "1"]), ("index3", ["0x0", "0", "64", "1048576", "0"]),
                ]
                for (index, texts) in figures {
                    let files = ["address_mode", "indexing", "line_size", "size", "write_policy"]
                    #expect(
                        try mount.names(in: "\(folder)/\(index)") == (files + ["power", "uevent"]).sorted())
                    #expect(try mount.names(in: "\(folder)/\(index)/power") == [])
                    for (file, text) in zip(files, texts) {
                        #expect(try mount.text("\(folder)/\(index)/\(file)") == text + "\n")
                        #expect(try mount.entry("\(folder)/\(index)/\(file)").permissions == 0o444)
                    }
                }
                #expect(throws: Errno.noSuchFileOrDirectory) {
                    try mount.entry("\(nodes)/node0/memory_side_cache")
                }
            }
        }

        @Test("SEEK_DATA and SEEK_HOLE see a page of data")
        func seeking() throws {
            try TestMount.with { mount throws in
                let file = try FileDescriptor.open(FilePath("\(mount.path)/\(nodes)/online"), .readOnly)
                defer { try? file.close() }
                #expect(lseek(file.rawValue, 5, SEEK_DATA) == 5)
                #expect(lseek(file.rawValue, 5, SEEK_HOLE) == 4096)
                #expect(lseek(file.rawValue, 4096, SEEK_DATA) == -1 && errno == ENXIO)
                #expect(try file.seek(offset: 0, from: .end) == 4096)
            }
        }
    }
}
