import Fuse
import LinuxSupport

/// The tasks whose open(2) was answered with ESTALE, so that the kernel looks the name up again.
///
/// It does so once (do_filp_open() of fs/namei.c): a second ESTALE is what the program gets. Therefore a task that comes back is never
/// refused again. It may have found the same inode, as in /proc/self/fd, or another of which the same is true by now.
final class Refusals: Sendable {
    /// The file at which each task was refused, by the number that stays the same at every lookup.
    private let files = Mutex<[Int32: InodeNumber]>([:])

    /// A task is refused at a file.
    func add(_ task: Int32, to file: InodeNumber) { files.withLock { $0[task] = file } }

    /// Whether a task that opens a file was refused there when it opened something last.
    func take(_ task: Int32, from file: InodeNumber) -> Bool {
        files.withLock { $0.isEmpty ? false : $0.removeValue(forKey: task) == file }
    }
}
