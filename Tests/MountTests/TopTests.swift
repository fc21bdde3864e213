import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// `cdmfs top` in a terminal, and as text.
    @Suite("Top")
    struct TopTests {
        /// Runs `cdmfs top` in a terminal of 80 columns and 24 rows; Tests/Clients/terminal.py has the words of the script.
        private func drive(
            _ mount: TestMount, terminal: String = "xterm-256color", _ script: String,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let file = mount.topologyFile + ".script"
            try script.write(toFile: file, atomically: true, encoding: .utf8)
            defer { try? FileManager.default.removeItem(atPath: file) }
            var environment = mount.environment
            environment["TERM"] = terminal
            environment["LC_ALL"] = "C.UTF-8"
            // A crash that is meant needs no report of minutes.
            environment["SWIFT_BACKTRACE"] = "enable=no"
            let words = ["python3", Client.terminal, Host.cdmfs, "top", "--interval", "0.2", mount.path]
            let outcome = try run(
                ["sh", "-c", "exec \"$@\" < \"$0\"", file] + words, within: 60, environment: environment)
            #expect(outcome.succeeded, "\(outcome.output)\(outcome.errors)", sourceLocation: sourceLocation)
        }

        @Test("Panels, keys, sizes, stop and go on; the buffers that there are")
        func keys() throws {
            try TestMount.with { mount in
                let buffer = try mount.makeBuffer("first", size: 4 << 20, policy: "bind:1")
                let odd = try mount.makeBuffer("日本\u{1b}[2Jx\n", size: 1 << 20)
                for file in [buffer, odd] {
                    _ = try run(["dd", "if=/dev/zero", "of=\(file)", "bs=1M", "count=1", "conv=notrunc,fsync"])
                }
                try drive(
                    mount,
                    """
                    expect [1] NODES
                    expect node1
                    expect first
                    expect 日本\\u{1B}[2Jx\\n
                    expect MAP first
                    expect 1 node1 1M
                    size 40 10
                    expect [1] NODES
                    absent TASKS
                    size 200 60
                    expect │
                    expect TASKS
                    keys 5z
                    expect [5] BUFFERS
                    absent FAULTS
                    keys \\x1b[B
                    expect > 日本
                    keys s
                    expect BUFFERS▼
                    keys 7
                    expect [7] MAP 日本
                    keys \\x1b
                    expect FAULTS
                    keys ?
                    expect Ctrl-L
                    keys ?p
                    expect PAUSED
                    keys p
                    absent PAUSED
                    keys \\x1a
                    stopped
                    restored
                    signal CONT
                    expect FAULTS
                    signal WINCH
                    keys q
                    ended exited 0
                    restored
                    """)
                #expect(try mount.text("sys/kernel/cdm/trace/enable") == "0\n")
            }
        }

        @Test("What happens is seen: touches, moves, tasks, events, poison")
        func events() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let buffer = try mount.makeBuffer("hot", size: 16 << 20)
                let controls = "\(mount.path)/sys/kernel/cdm/buffers/hot"
                try drive(
                    mount,
                    """
                    size 200 60
                    expect [1] NODES
                    run dd if=/dev/zero of=\(buffer) bs=1M count=16 conv=notrunc status=none
                    run echo 1 > \(controls)/migrate
                    expect hot migrated (buffer)
                    expect 0 → 1
                    expect 1 node1 16M
                    run echo 0x100000 > \(controls)/poison
                    expect poisoned 4K
                    expect ! 
                    keys 6
                    expect [6] TASKS
                    signal KILL
                    ended signalled 9
                    """)
                // Nothing is left of the one that was killed.
                #expect(try mount.text("sys/kernel/cdm/trace/enable") == "0\n")
                #expect(try mount.text("sys/kernel/cdm/trace/filter") == "none\n")
            }
        }

        @Test("Signals, a crash and the end of the machine leave the terminal as it was")
        func ends() throws {
            try TestMount.with(checkingLeaks: false, endsItself: true) { mount in
                for (signal, number) in [
                    ("TERM", SIGTERM), ("HUP", SIGHUP), ("INT", SIGINT), ("QUIT", SIGQUIT), ("SEGV", SIGSEGV),
                ] {
                    try drive(
                        mount, "expect NODES\nsignal \(signal)\nended signalled \(number)\nrestored\n")
                }
                try drive(mount, "expect NODES\nkeys \\x03\nended signalled \(SIGINT)\nrestored\n")
                // Stopped from outside, and ended while it is stopped.
                try drive(
                    mount,
                    """
                    expect NODES
                    signal TSTP
                    stopped
                    restored
                    signal CONT
                    expect NODES
                    signal TSTP
                    stopped
                    signal TERM
                    signal CONT
                    ended signalled \(SIGTERM)
                    restored
                    """)
                try drive(
                    mount, terminal: "dumb",
                    "expect NODES\nexpect rates over\nkeys q\nended exited 0\nunescaped\n")
                let daemons = mount.daemons().map(String.init).joined(separator: " ")
                try drive(
                    mount,
                    """
                    expect NODES
                    run kill -STOP \(daemons)
                    expect no answer for
                    keys ?
                    expect Ctrl-L
                    run kill -CONT \(daemons)
                    absent no answer for
                    run kill -9 \(daemons)
                    ended exited 32
                    restored
                    says the machine has ended
                    """)
                _ = try run([Host.cdmfs, "unmount", mount.path])
            }
        }

        @Test("One frame as text: what the files say, to anybody what that one may see; wrong words are one line")
        func once() throws {
            try TestMount.with(Machines.four) { mount in
                let buffer = try mount.makeBuffer("a b", size: 8 << 20, policy: "bind:4")
                _ = try run(["dd", "if=/dev/zero", "of=\(buffer)", "bs=1M", "count=3", "conv=notrunc,fsync"])
                try mount.store("0x0 0x100000 0", in: "sys/kernel/cdm/buffers/a b/migrate")
                var environment = mount.environment
                environment["LC_ALL"] = "C"
                let outcome = try run(
                    [Host.cdmfs, "top", "--once", "--interval", "0.1", mount.path], environment: environment)
                #expect(outcome.succeeded && outcome.errors.isEmpty, "\(outcome)")
                let text = outcome.output
                #expect(text.utf8.allSatisfy { $0 == 0x0a || (0x20..<0x7f).contains($0) })
                let lines = text.split(separator: "\n")
                func row(_ start: String) -> [Substring] {
                    lines.first { $0.hasPrefix(start + " ") }?.split(separator: " ") ?? []
                }
                for node in try mount.nodes() {
                    let info = try mount.meminfo(node)
                    let words = row("node\(node)")
                    try #require(words.count == 11, "\(words)")
                    #expect(bytes(words[3]) == Double(try #require(info["MemTotal"])) * 1024)
                    let used = Double(try #require(info["MemUsed"])) * 1024
                    #expect(abs(try #require(bytes(words[4])) - used) <= used / 20)
                }
                #expect(row("4 -> 0") == ["4", "->", "0", "buffer", "0", "1M"], "\(text)")
                #expect(row("a b").suffix(8) == ["3M", "0", "0", "0", "0", "0", "4:67%", "0:33%"], "\(text)")
                #expect(text.contains("0 node0 1M  4 node4 2M  . no page 5M"))

                // Somebody else has not the right to look into the directory of a buffer of root's.
                _ = try run(["chmod", "600", buffer])
                try mount.letOthersIn()
                let other = try run(
                    [
                        "setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", Host.cdmfs, "top", "--once",
                        "--interval", "0.1", mount.path,
                    ])
                #expect(other.succeeded && !other.output.contains("a b"), "\(other)")
                #expect(other.output.contains("only root may see") && other.output.contains("node4"))

                func refusal(_ words: String...) throws -> (Ending, Int) {
                    let outcome = try run([Host.cdmfs, "top"] + words)
                    return (outcome.ending, outcome.errors.split(separator: "\n").count)
                }
                #expect(try refusal(mount.path) == (.exited(64), 1))
                #expect(try refusal("--once", "/") == (.exited(32), 1))
                #expect(try refusal("--once", "--interval", "0", mount.path) == (.exited(64), 1))
                #expect(try refusal("--once", "--interval", "nan", mount.path) == (.exited(64), 1))
            }
        }

        /// Bytes of a figure such as `1.5M`.
        private func bytes(_ word: Substring) -> Double? {
            let units: [Character] = ["K", "M", "G", "T"]
            guard let last = word.last, let power = units.firstIndex(of: last) else { return Double(word) }
            return Double(word.dropLast()).map { $0 * Double(1 << (10 * (power + 1))) }
        }
    }
}
