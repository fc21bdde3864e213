import Foundation
import Glibc
import LinuxSupport
import SystemPackage
import Testing

/// Numbers of tasks in another PID namespace.
@Suite("PID namespace", .enabled(if: geteuid() == 0, "making a namespace needs root")) struct PIDNamespaceTests {
    @Test("The kernel and, before Linux 6.11, /proc tell the numbers", arguments: [true, false])
    func numbers(asksKernel: Bool) throws {
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
        shell.arguments = ["-pf", "sh", "-c", "sleep 1000 & echo $!; read line; kill $!"]
        let (output, input) = (Pipe(), Pipe())
        (shell.standardOutput, shell.standardInput) = (output, input)
        try shell.run()
        defer {
            try? input.fileHandleForWriting.close()
            shell.waitUntilExit()
        }
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        let sleeper = try #require(Int32(line.split(separator: "\n")[0]))
        let children = try String(
            contentsOfFile: "/proc/\(shell.processIdentifier)/task/\(shell.processIdentifier)/children", encoding: .utf8
        )
        let first = try #require(Int32(children.split(separator: " ")[0]))
        let own = try PIDNamespace(of: getpid(), asksKernel: asksKernel)
        let isOwn = if case .none = own { true } else { false }
        #expect(isOwn)
        guard let namespace = try PIDNamespace(of: first, asksKernel: asksKernel) else {
            Issue.record("it is in a namespace of its own")
            return
        }
        let found = try namespace.ownNumber(of: 1)
        #expect(found == first)
        let other = try namespace.ownNumber(of: sleeper)
        #expect(namespace.number(of: other) == sleeper && namespace.number(of: first) == 1)
        #expect(namespace.number(of: getpid()) == 0 && namespace.number(of: 0) == 0)
        do throws(Errno) {
            _ = try namespace.ownNumber(of: 900_000)
            Issue.record("nobody has that number")
        } catch {
            #expect(error == .noSuchProcess)
        }
    }
}
