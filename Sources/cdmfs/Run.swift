import ArgumentParser
import CLinux
import Glibc
import SystemPackage

/// `cdmfs run`
struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a command that sees the simulated nodes in place of the host's.",
        usage: "cdmfs run --mount <mountpoint> [--] <command> [<argument> ...]",
        discussion: """
            The command runs in a mount namespace of its own, in which sys/devices/system/node and \
            sys/devices/system/memory of the mount stand over the host's; nothing else changes. The exit status is the \
            command's, 127 if it was not found and 126 if it cannot be executed.
            """)

    @Option(
        help: ArgumentHelp("Where the machine is mounted.", valueName: "mountpoint"), completion: .mountPoints)
    var mount: String

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String]

    /// The folders of sysfs that are replaced.
    private static let folders = ["devices/system/node", "devices/system/memory"]

    func run() throws {
        let words = command.first == "--" ? Array(command.dropFirst()) : command
        guard let name = words.first else {
            throw Failure(.usage, "run: no command; expected one after --mount MOUNTPOINT")
        }
        // The host's own /sys has these folders, too; kernel/cdm it has not.
        for folder in Self.folders + ["kernel/cdm"] {
            guard unsafe access("\(mount)/sys/\(folder)", F_OK) == 0 else {
                throw Failure(
                    .mount,
                    "run: \(mount): \(lastError() == .noSuchFileOrDirectory ? "no machine is mounted here" : "\(lastError())")"
                )
            }
        }
        try enterNamespace()
        for folder in Self.folders {
            guard unsafe Glibc.mount("\(mount)/sys/\(folder)", "/sys/\(folder)", nil, UInt(MS_BIND), nil) == 0 else {
                throw Failure(.failure, "run: /sys/\(folder): \(lastError())")
            }
        }
        _ = unsafe withArgumentVector(words) { unsafe execvp(name, $0) }
        let error = lastError()
        throw Failure(error == .noSuchFileOrDirectory ? .notFound : .notExecutable, "run: \(name): \(error)")
    }

    /// A mount namespace from which nothing reaches the host's; who may not make one gets it with a user namespace.
    private func enterNamespace() throws(Failure) {
        let (user, group) = (geteuid(), getegid())
        if unshare(CLONE_NEWNS) != 0 {
            guard unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 else {
                throw Failure(.failure, "run: unshare: \(lastError())")
            }
            do {
                for (file, text) in [
                    ("setgroups", "deny"), ("uid_map", "\(user) \(user) 1"), ("gid_map", "\(group) \(group) 1"),
                ] {
                    try write(text, to: FilePath("/proc/self/\(file)"))
                }
            } catch {
                throw Failure(.failure, "run: user namespace: \(error)")
            }
        }
        guard unsafe Glibc.mount(nil, "/", nil, UInt(MS_REC | MS_SLAVE), nil) == 0 else {
            throw Failure(.failure, "run: /: \(lastError())")
        }
    }
}
