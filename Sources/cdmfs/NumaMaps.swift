import ArgumentParser
import CListener
import CoherentFS
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs numa_maps`
struct NumaMaps: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "numa_maps",
        abstract: "Print a task's numa_maps with the simulated placement in it.",
        discussion: """
            The lines are those of /proc/PID/numa_maps, except that memory of simulated machines shows the simulated nodes. \
            If the host's kernel has no NUMA, only memory of simulated machines is printed.

            Exit status: 0 on success, 64 for wrong usage, 1 if the process does not exist or cannot be read.
            """)

    @Argument(help: "The PID of a process or thread.")
    var pid: Int32

    func validate() throws {
        guard pid > 0 else { throw ValidationError("expected the PID of a process, more than 0") }
    }

    /// The time limit in seconds for reading /proc files of the task, which can delay the read.
    private static let timeLimit = 5.0

    func run() throws {
        // Where /proc is of a namespace above, it has another number there.
        guard let task = PIDNamespace.numberInProc(of: pid) else {
            throw Failure(.failure, "numa_maps: \(pid): \(Errno.noSuchProcess)")
        }
        let mounts: [MountInfo]
        do {
            mounts = try MountInfo.all(of: task)
        } catch Errno.noSuchFileOrDirectory {
            throw Failure(.failure, "numa_maps: \(pid): \(Errno.noSuchProcess)")
        } catch {
            throw Failure(.failure, "numa_maps: \(pid): \(error)")
        }
        var simulated: [Substring: Substring] = [:]
        var order: [Substring] = []
        let mappings = try mappings(of: task)
        var mapped = Set(mappings.filter { $0.device.major == 0 }.map(\.device.minor))
        // The memory of a program under `run` is that of a machine which its mappings do not name.
        if mappings.contains(where: { $0.addresses.lowerBound == clistener_mark }) {
            mapped.formUnion(mounts.filter(\.isMachine).map(\.device.minor))
        }
        // A mount of a part of a machine has no controls.
        for mount in mounts where mount.isMachine && mount.root == "/" {
            guard mapped.remove(mount.device.minor) != nil else { continue }
            for line in try lines(from: mount, task) {
                let address = line.prefix { $0 != " " }
                if simulated.updateValue(line, forKey: address) == nil { order.append(address) }
            }
        }
        var host = ""
        do {
            host = try text(of: "/proc/\(task)/numa_maps")
        } catch Errno.noSuchFileOrDirectory {
            // No NUMA in the host's kernel.
        } catch {
            throw Failure(.failure, "numa_maps: /proc/\(task)/numa_maps: \(error)")
        }
        var text = ""
        for line in host.split(separator: "\n") {
            text += (simulated.removeValue(forKey: line.prefix { $0 != " " }) ?? line) + "\n"
        }
        for address in order { if let line = simulated[address] { text += line + "\n" } }
        _ = try? FileDescriptor.standardOutput.writeAll(text.utf8)
    }

    private func mappings(of task: pid_t) throws(Failure) -> [ProcMapping] {
        do {
            return try text(of: "/proc/\(task)/maps").split(separator: "\n").compactMap { ProcMapping(line: $0) }
        } catch {
            throw Failure(.failure, "numa_maps: \(pid): \(error)")
        }
    }

    /// A file of the task; ETIMEDOUT if the read exceeds the time limit.
    private func text(of file: String) throws -> String {
        let text = answer(within: Self.timeLimit) { Result { try SmallFile.text(FilePath(file)) } }
        guard let text else { throw Errno.timedOut }
        return try text.get()
    }

    /// What a machine says of its own mappings.
    private func lines(from mount: MountInfo, _ task: pid_t) throws(Failure) -> [Substring] {
        let control = "sys/kernel/cdm/numa_maps"
        // As the task itself would reach it, or where it may not be followed there, as we do.
        let places = ["/proc/\(task)/root\(mount.mountPoint)", mount.mountPoint]
        var failure = Errno.noSuchFileOrDirectory
        for place in places {
            do {
                let file = try FileDescriptor.open(
                    FilePath("\(place)/\(control)"), .readWrite, options: .closeOnExec)
                return try file.closeAfter {
                    _ = try file.writeAll("\(pid)".utf8)
                    _ = try file.seek(offset: 0, from: .start)
                    return try SmallFile.text(file).split(separator: "\n")
                }
            } catch {
                failure = error as? Errno ?? failure
            }
        }
        throw Failure(.failure, "numa_maps: \(mount.mountPoint)/\(control): \(failure)")
    }
}
