import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// The numbers of tasks as other PID namespaces have them. What each file has to say stands in Tests/Clients/namespaces.py.
    @Suite("PID namespaces")
    struct NamespaceTests {
        @Test("Every file that takes or shows a task's number takes and shows that of who asks")
        func nested() throws {
            try TestMount.with { mount in
                let fifo = mount.topologyFile + ".go"
                try check(unsafe mkfifo(fifo, 0o600))
                // The outer shell has a number that the inner one does not know.
                let child = try Child(
                    [
                        "unshare", "-pf", "--mount-proc", "sh", "-c",
                        "exec python3 \(Client.namespaces) \(mount.path) < \(fifo)",
                    ], environment: mount.environment)
                let go = try FileDescriptor.open(FilePath(fifo), .writeOnly)
                #expect(try child.line() == "policies")
                // Here they have other numbers, and this process has no policy.
                let lines = try mount.text("sys/kernel/cdm/task_policy").split(separator: "\n")
                let tasks = lines.compactMap { Int32($0.split(separator: " ")[0]) }
                #expect(tasks.count == 2 && tasks.allSatisfy { $0 > 1 && $0 != getpid() })
                for (task, number) in zip(tasks, ["1", nil]) {
                    let numbers = try procfs("\(task)/status").split(separator: "\n").first { $0.hasPrefix("NSpid:") }
                    let innermost = numbers?.split(separator: "\t").last.map(String.init)
                    #expect(number.map { $0 == innermost } ?? true)
                }
                _ = try go.writeAll("go\n".utf8)
                try go.close()
                let outcome = try child.finish(within: 60)
                #expect(outcome.succeeded && outcome.output.hasSuffix("done\n"), "\(outcome.errors)")
            }
        }

        @Test("The root of a user namespace sees its own numbers and has none of root's rights")
        func user() throws {
            try TestMount.with { mount in
                try mount.letOthersIn()
                let outcome = try run(
                    [
                        "setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "unshare", "-Urpf",
                        "--mount-proc", "python3", Client.namespaces, mount.path, "user",
                    ], within: 60, environment: mount.environment)
                #expect(outcome.succeeded && outcome.output == "done\n", "\(outcome.errors)")
            }
        }

        @Test("An event about a task that was killed has the number that the reader knows it by")
        func events() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 4096, policy: "bind:1")
                let outside = try UeventReader(mount)
                let script = """
                    import mmap, os, select, signal
                    file = os.open('\(file)', os.O_RDWR)
                    events = os.open('\(mount.path)/sys/kernel/cdm/uevents', os.O_RDONLY)
                    ends = os.pipe()
                    child = os.fork()
                    if child == 0:
                        memory = mmap.mmap(file, 4096)
                        memory[0] = 1
                        os.write(ends[1], b'1')
                        signal.pause()
                    os.read(ends[0], 1)
                    for name, text in [('on_loss', 'sigkill'), ('state', 'down')]:
                        with open('\(mount.path)/sys/class/cdm/cdm0/link/' + name, 'w') as control:
                            control.write(text)
                    os.waitpid(child, 0)
                    lines = []
                    while not any(line.startswith('PID=') for line in lines):
                        assert select.select([events], [], [], 20)[0], lines
                        lines += os.read(events, 65536).decode().split('\\n')
                    print(f'child={child}', 'told=' + ','.join(line[4:] for line in lines if line.startswith('PID=')))
                    """
                let outcome = try run(
                    ["unshare", "-pf", "--mount-proc", "python3", "-c", script], within: 60,
                    environment: mount.environment)
                let child = try #require(outcome["child"], "\(outcome.errors)")
                #expect(outcome["told"] == child)
                // Here it had another number.
                let told = try outside.events().compactMap { $0["PID"] }.compactMap { Int($0) }
                #expect(told.count == 1 && told != [child], "\(told)")
            }
        }

        @Test("numa_maps finds a task whose /proc is of the namespace above")
        func otherProc() throws {
            try TestMount.with { mount in
                let file = try mount.makeBuffer("a", size: 64 << 10)
                let script = """
                    import mmap, os, subprocess
                    file = os.open('\(file)', os.O_RDWR)
                    memory = mmap.mmap(file, 65536)
                    memory[0] = 1
                    assert os.getpid() == 1
                    print(subprocess.run(['\(Host.cdmfs)', 'numa_maps', '1'], capture_output=True, text=True).stdout)
                    """
                let outcome = try run(
                    ["unshare", "-pf", "python3", "-c", script], within: 60, environment: mount.environment)
                #expect(outcome.succeeded && outcome.output.contains("file=\(file) "), "\(outcome.errors)")
            }
        }
    }
}
