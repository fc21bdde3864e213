import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// The process that hands the listener of a command to the daemon of a mount. It has the kernel execute the calls after the daemon has
/// exited.
///
/// It starts before the command's namespace exists, because the namespace and its mount end with the last process in it.
struct ProgramKeeper {
    private let socket: Int32
    /// The CPUs of the host, which the view hides.
    private let hostCPUs: IDSet
    /// Whether anonymous memory of the command is to be the machine's, too.
    private let memory: Bool

    /// Starts it. Without one the command has the view alone.
    ///
    /// - Parameter memory: whether anonymous memory of the command is to be the machine's, too.
    init(memory: Bool) {
        self.memory = memory
        hostCPUs = .onlineCPUs
        socket = clistener_start_keeper()
    }

    /// Makes the system calls of this process, and of the command that it becomes, act on the machine that is mounted on a path. If that is
    /// not possible, it says why in one line.
    func begin(at mountPoint: String) {
        guard socket >= 0 else { return complain(about: .last) }
        defer { close(socket) }
        let file = unsafe open("\(mountPoint)/sys/kernel/cdm/programs", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return complain(about: .last) }
        defer { close(file) }
        var calls = CLISTENER_MEMORY | CLISTENER_FILES
        let online = try? SmallFile.text(FilePath(mountPoint).appending("sys/devices/system/cpu/online"))
        if online.flatMap({ try? IDSet(list: $0, limit: IDSet.maxCPUs) }) != hostCPUs { calls |= CLISTENER_PROCESSORS }
        if memory {
            if geteuid() != 0, !UserFaults.areForAllUsers {
                cdmfs.complain(
                    "run: memory of the command that is no buffer is the host's: vm.unprivileged_userfaultfd is 0")
            } else if (try? SmallFile.text(FilePath(mountPoint).appending("sys/kernel/cdm/programs"))) == "memory\n" {
                calls |= CLISTENER_ANONYMOUS
            } else {
                cdmfs.complain(
                    "run: memory of the command that is no buffer is the host's: the daemon has no userfaultfd that it may use"
                )
            }
        }
        if clistener_begin(socket, file, Int32(calls)) != 0 {
            complain(about: .last)
        }
    }

    private func complain(about error: Errno) {
        let reason =
            switch error {
            case .resourceBusy: "there is another listener already, as inside another run"
            case .invalidArgument, .noFunction: "the kernel has no listeners"
            default: "\(error)"
            }
        cdmfs.complain("run: the system calls of the command act on the host: \(reason)")
    }
}
