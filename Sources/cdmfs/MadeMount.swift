import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// A mount of type fuse.cdmfs that one process makes, in a mount namespace of its own, and another one serves.
///
/// The process that serves it stays out of the namespace. So the mount ends with the last process that is in it, however that process ends, and with the
/// mount the connection, and with the connection the daemon.
struct MadeMount {
    /// The `/dev/fuse` that it was made with.
    let device: FileDescriptor
    /// The minor device number, which is the number of the connection.
    let minor: Int
    /// The process that has made it.
    let process: pid_t

    /// Mounts on a directory. The mount is not served yet: a request to it waits.
    init(at directory: String) throws(Failure) {
        do {
            device = try FileDescriptor.open(FilePath("/dev/fuse"), .readWrite, options: .closeOnExec)
        } catch {
            throw Failure(.mount, "run: /dev/fuse: \(error)")
        }
        // As libfuse has them; root's mounts, and those of a user namespace, are open to all users who find them.
        let options =
            "fd=\(device.rawValue),rootmode=40000,user_id=\(geteuid()),group_id=\(getegid()),default_permissions,allow_other"
        let flags = UInt(MS_NOSUID | MS_NODEV)
        let status = unsafe options.withCString { unsafe Glibc.mount("cdmfs", directory, "fuse.cdmfs", flags, $0) }
        guard status == 0 else { throw Failure(.mount, "run: \(directory): mount: \(Errno.last)") }
        guard let mount = MountInfo.uppermost(at: FilePath(directory)) else {
            throw Failure(.mount, "run: \(directory): the mount is not in /proc/self/mountinfo")
        }
        minor = mount.device.minor
        process = getpid()
    }

    /// Hands it over to the process that serves it, and closes it here: a connection whose device is held elsewhere does not end with that process, and
    /// requests to it would wait for ever.
    func send(over socket: FileDescriptor) throws(Failure) {
        defer { try? device.close() }
        var text = Array("\(minor) \(process)".utf8)
        let status = unsafe clinux_send_file(socket.rawValue, device.rawValue, &text, text.count)
        guard status == 0 else { throw Failure(.failure, "run: the daemon: \(Errno.last)") }
    }

    /// What another process has sent.
    init(receivedFrom socket: FileDescriptor) throws(Failure) {
        var bytes = [UInt8](repeating: 0, count: 64)
        var file: Int32 = -1
        let count = unsafe clinux_receive_file(socket.rawValue, &file, &bytes, bytes.count)
        let words = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: " ")
        guard file >= 0, words.count == 2, let minor = Int(words[0]), let process = pid_t(words[1]) else {
            throw Failure(.mount, "run: no mount was made")
        }
        (device, self.minor, self.process) = (FileDescriptor(rawValue: file), minor, process)
    }
}
