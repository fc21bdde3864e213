import CLinux
import Glibc
import SystemPackage

/// A Python program as a process of its own, talking line by line.
///
/// Whoever maps a file of the mount must be another process than the daemon: munmap(2) writes dirty pages back with the
/// address space locked, and the workers need the address space for the WRITE.
struct Child: ~Copyable {
    private let pid: pid_t
    private let input: Int32
    private let output: Int32

    init(_ program: String, _ arguments: String...) throws {
        var toChild: [Int32] = [-1, -1]
        var fromChild: [Int32] = [-1, -1]
        guard unsafe pipe2(&toChild, O_CLOEXEC) == 0, unsafe pipe2(&fromChild, O_CLOEXEC) == 0 else {
            throw Errno(rawValue: errno)
        }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
        let words = ["python3", "-c", program] + arguments
        var argv = unsafe words.map { unsafe strdup($0) } + [nil]
        defer { for index in unsafe argv.indices { unsafe free(argv[index]) } }
        var pid = pid_t()
        let error = unsafe posix_spawnp(&pid, "python3", &actions, nil, &argv, Glibc.environ)
        close(toChild[0])
        close(fromChild[1])
        guard error == 0 else {
            close(toChild[1])
            close(fromChild[0])
            throw Errno(rawValue: error)
        }
        self.pid = pid
        input = toChild[1]
        output = fromChild[0]
    }

    /// The next line the child prints, "" when it has ended or says nothing for 15 seconds.
    func line() -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        var poll = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
        while unsafe Glibc.poll(&poll, 1, 15000) == 1, unsafe read(output, &byte, 1) == 1, byte != UInt8(ascii: "\n") {
            bytes.append(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Lets the child's `input()` return.
    func go() {
        _ = unsafe write(input, "\n", 1)
    }

    deinit {
        close(input)
        close(output)
        kill(pid, SIGKILL)
        var status: Int32 = 0
        unsafe waitpid(pid, &status, 0)
    }
}
