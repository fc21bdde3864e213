import CLinux
import Glibc
import SystemPackage

/// A process in whose mount namespace a machine is mounted.
struct MountHolder: Sendable, CustomStringConvertible {
    let process: pid_t
    let name: String
    /// `mnt:[INODE]`, or empty where that may not be seen.
    let namespace: String

    var description: String { "\(process) (\(name))" }

    /// One process for each mount namespace that has a FUSE file system, by the minor number of its device; ascending. Where a
    /// namespace has a process that is no daemon of a machine, it is that one.
    static func all(of minor: Int) -> [MountHolder] {
        var holders: [MountHolder] = []
        var known: Set<String> = []
        var daemons: [MountHolder] = []
        for process in processes {
            let namespace = link("/proc/\(process)/ns/mnt")
            if !namespace.isEmpty, known.contains(namespace) { continue }
            guard isMounted(minor, for: process) else { continue }
            let holder = MountHolder(process: process, name: comm(process), namespace: namespace)
            if isDaemon(process) {
                daemons.append(holder)
            } else {
                known.insert(namespace)
                holders.append(holder)
            }
        }
        for holder in daemons where known.insert(holder.namespace).inserted { holders.append(holder) }
        return holders.sorted { $0.process < $1.process }
    }

    /// The processes that /proc shows, ascending.
    static var processes: [pid_t] { namesOfNumbers(in: "/proc").compactMap { pid_t($0) }.sorted() }

    /// Whether a process sees a FUSE file system mounted.
    static func isMounted(_ minor: Int, for process: pid_t) -> Bool {
        ((try? MountInfo.all(of: process)) ?? []).contains { $0.minor == minor && $0.type == "fuse.cdmfs" }
    }

    /// Whether a process runs the program that this one runs, as the daemons of machines do.
    static func isDaemon(_ process: pid_t) -> Bool {
        guard let own = program("self") else { return false }
        return program("\(process)") == own
    }

    private struct Program: Equatable {
        var (major, minor, inode): (UInt32, UInt32, UInt64) = (0, 0, 0)
    }

    private static func program(_ process: String) -> Program? {
        var program = Program()
        // Not from its file system, which may be anybody's.
        let found = unsafe clinux_cached_inode(
            "/proc/\(process)/exe", &program.major, &program.minor, &program.inode)
        return found == 0 ? program : nil
    }

    private static func comm(_ process: pid_t) -> String {
        let text = (try? readAll(FilePath("/proc/\(process)/comm"))) ?? "?"
        // A name may hold anything.
        return String(
            text.unicodeScalars.prefix { $0 != "\n" }.map {
                $0.properties.generalCategory == .control ? "?" : Character($0)
            })
    }

    /// The target of a symbolic link; empty where it may not be seen.
    static func link(_ path: String) -> String {
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            let count = unsafe readlink(path, buffer.baseAddress!, 256)
            guard count > 0 else { return "" }
            return unsafe String(
                decoding: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]), as: UTF8.self)
        }
    }
}
