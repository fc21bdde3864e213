import CLinux
import Glibc
import LinuxSupport
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
        for process in ProcFile.processes {
            let namespace = ProcFile.link("/proc/\(process)/ns/mnt") ?? ""
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

    /// Whether a process sees a FUSE file system mounted.
    static func isMounted(_ minor: Int, for process: pid_t) -> Bool {
        ((try? MountInfo.all(of: process)) ?? []).contains { $0.device.minor == minor && $0.isMachine }
    }

    /// Whether a process runs the program that this one runs, as the daemons of machines do.
    static func isDaemon(_ process: pid_t) -> Bool {
        // Not from its file system, which may be any user's.
        guard let own = try? FileIdentity(cached: "/proc/self/exe") else { return false }
        return (try? FileIdentity(cached: "/proc/\(process)/exe")) == own
    }

    private static func comm(_ process: pid_t) -> String {
        // A name may hold anything.
        String(
            (ProcFile.name(of: process) ?? "?").unicodeScalars.map {
                $0.properties.generalCategory == .control ? "?" : Character($0)
            })
    }
}
