import ArgumentParser
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs set`
struct SetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set",
        abstract: "Write to a control file, and say why if it is refused.",
        usage: "cdmfs set <file> <value> ...",
        discussion: """
            FILE is a file of the sys/ tree of a mount, or of /sys under `cdmfs run`. Several words of VALUE are joined with blanks. \
            The write returns when its work is done. If it is refused, the line of sys/kernel/cdm/last_error with the reason \
            is printed on stderr:

              cdmfs set /mnt/cdm/sys/kernel/cdm/buffers/a/policy bind:1
              cdmfs set /mnt/cdm/sys/class/cdm/cdm0/state offline

            Exit status: 0 on success, 64 for wrong usage or a file that is not of a machine, 1 if the write is refused.
            """)

    @Argument(help: "The control file.", completion: .file())
    var file: String

    @Argument(parsing: .captureForPassthrough, help: "What to write.")
    var value: [String]

    func validate() throws {
        guard !value.isEmpty else { throw ValidationError("expected a value.") }
    }

    func run() throws {
        guard let path = resolvedPath(file) else { throw Failure(.failure, "set: \(file): \(Errno.last)") }
        guard let mount = MountInfo.containing(FilePath(path)), mount.isMachine, isControl(path, of: mount) else {
            throw Failure(.usage, "set: \(file): not a control file of a machine")
        }
        do {
            let descriptor = try FileDescriptor.open(FilePath(path), .writeOnly, options: .closeOnExec)
            // One write is one store.
            let bytes = Array(value.joined(separator: " ").utf8)
            _ = try descriptor.closeAfter {
                try unsafe bytes.withUnsafeBytes { unsafe try descriptor.write($0, retryOnInterrupt: false) }
            }
        } catch let error as Errno {
            throw Failure(.failure, "set: \(reason(of: error, on: mount) ?? "\(file): \(error)")")
        }
    }

    /// Whether a file of a machine's mount is below its sys/. Of a part that is mounted elsewhere, its root says so.
    private func isControl(_ path: String, of mount: MountInfo) -> Bool {
        var inner = FilePath(path)
        _ = inner.removePrefix(FilePath(mount.mountPoint))
        return FilePath(mount.root).pushing(inner).starts(with: "/sys")
    }

    /// The line of the machine's last_error if it is about an error; nil if it is not, or cannot be read.
    private func reason(of error: Errno, on mount: MountInfo) -> String? {
        let mounts = (try? MountInfo.all(of: getpid())) ?? []
        let places = ([mount] + mounts).filter { $0.device == mount.device && $0.root == "/" }
        for place in places {
            let file = FilePath(place.mountPoint).appending("sys/kernel/cdm/last_error")
            if let line = try? SmallFile.text(file), line.contains(" \(error.name): ") {
                return String(line.dropLast())
            }
        }
        return nil
    }
}
