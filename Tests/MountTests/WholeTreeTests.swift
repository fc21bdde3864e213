import CLinux
import Foundation
import Synchronization
import SystemPackage
import TestSupport
import Testing

extension Mounts {
    /// Every file is read while the machine changes underneath.
    @Suite("Whole tree")
    struct WholeTreeTests {
        private static let machine = TopologyText.file(
            block: "4M",
            [
                TopologyText.ram(0, "128M", cpus: "all"), TopologyText.coherent(2, "64M", "device = \"cdm0\""),
            ])

        /// What a real sysfs answers whose file went meanwhile.
        private static let races: Set<Errno> = [.noSuchFileOrDirectory, .operationNotSupportedByDevice]

        @Test("find and cat, and every text whole, while blocks, buffers and pages come and go")
        func reading() throws {
            try TestMount.with(Self.machine) { mount in
                try mount.fill(mount.makeBuffer("moving", size: 4 << 20, policy: "prefer:2"), limit: 4 << 20)
                try withChanges(to: mount) {
                    for _ in 1...6 {
                        try checkFind(mount)
                        try checkTexts(mount)
                    }
                }
                for block in try mount.numbers("memory", in: "sys/devices/system/memory") {
                    try mount.store("1", in: "sys/devices/system/memory/memory\(block)/online")
                }
                try mount.expectAgreement()
            }
        }

        private func checkFind(_ mount: TestMount) throws {
            let command =
                "find '\(mount.path)/sys' -type f -perm /444 ! -name uevents ! -name 'trace_pipe*' -exec cat {} + >/dev/null"
            let outcome = try run(["sh", "-c", "LC_ALL=C \(command)"])
            let strange = outcome.errors.split(separator: "\n").filter {
                // find takes two directories that go while it opens them for one and the same (fts_build() of gnulib).
                !$0.hasSuffix(": No such device") && !$0.hasSuffix(": No such file or directory")
                    && !$0.contains("File system loop detected")
            }
            #expect(strange.isEmpty, "\(strange)")
        }

        /// Reads each file once and looks at its text; a file may go, but only the way files of a sysfs go.
        private func checkTexts(_ mount: TestMount) throws {
            let formats = TextFormats()
            var read = 0
            var folders = ["sys"]
            while let folder = folders.popLast() {
                for (name, type) in try list(mount.path + "/" + folder) {
                    let file = folder + "/" + name
                    if type == DT_DIR { folders.append(file) }
                    guard type == DT_REG, name != "uevents", name != "config", !name.hasPrefix("trace_pipe")
                    else { continue }
                    do {
                        let text = try mount.text(file)
                        read += 1
                        if !formats.isWhole(text, of: name) { Issue.record("\(file): \(text.debugDescription)") }
                    } catch let error as Errno {
                        // A file that is only written, or one that is gone.
                        #expect(error == .permissionDenied || Self.races.contains(error), "\(file): \(error)")
                    }
                }
            }
            #expect(read > 500)
        }

        private func list(_ folder: String) throws -> [(name: String, type: Int)] {
            guard let stream = unsafe opendir(folder) else {
                let error = Errno(rawValue: errno)
                #expect(Self.races.contains(error), "\(folder): \(error)")
                return []
            }
            defer { unsafe closedir(stream) }
            var entries: [(String, Int)] = []
            while true {
                errno = 0
                guard let entry = unsafe readdir(stream) else {
                    let error = Errno(rawValue: errno)
                    #expect(error.rawValue == 0 || Self.races.contains(error), "\(folder): \(error)")
                    return entries
                }
                let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
                    unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { entries.append((name, Int(unsafe entry.pointee.d_type))) }
            }
        }

        /// Runs `body` while three threads change the machine; each must have got somewhere.
        private func withChanges(to mount: TestMount, _ body: () throws -> Void) throws {
            let isOver = Atomic(false)
            let done = Mutex<[Int]>([0, 0, 0])
            let group = DispatchGroup()
            let changes: [@Sendable (TestMount, Int) throws -> Void] = [toggleBlock, replaceBuffers, movePages]
            defer {
                isOver.store(true, ordering: .relaxed)
                group.wait()
            }
            for (index, change) in changes.enumerated() {
                group.enter()
                Thread.detachNewThread {
                    var round = 0
                    while !isOver.load(ordering: .relaxed) {
                        do {
                            try change(mount, round)
                            done.withLock { $0[index] += 1 }
                        } catch {
                            // A refusal, as by a block whose pages have nowhere to go, is none of this test's business.
                        }
                        round += 1
                    }
                    group.leave()
                }
            }
            try body()
            let counts = done.withLock { $0 }
            #expect(counts.allSatisfy { $0 > 3 }, "\(counts)")
        }

        private func toggleBlock(_ mount: TestMount, _ round: Int) throws {
            let block = [3, 33, 34, 40, 47][round / 2 % 5]
            try mount.store(
                round.isMultiple(of: 2) ? "0" : "1", in: "sys/devices/system/memory/memory\(block)/online")
        }

        private func replaceBuffers(_ mount: TestMount, _ round: Int) throws {
            let folder = mount.path + "/buffers/folder"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
            for index in 0..<4 {
                let file = try mount.makeBuffer(
                    "folder/b\(index)", size: 1 << 18, policy: index.isMultiple(of: 2) ? "interleave:0,2" : "bind:2")
                try mount.fill(file, limit: 1 << 18)
            }
            try FileManager.default.removeItem(atPath: folder)
        }

        private func movePages(_ mount: TestMount, _ round: Int) throws {
            try mount.store(round.isMultiple(of: 2) ? "0" : "2", in: mount.control("moving") + "/migrate")
        }
    }
}
