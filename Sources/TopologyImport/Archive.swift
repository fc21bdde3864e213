import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// Archives, by tar(1).
enum Archive {
    /// Extracts an archive to a private directory, which is there during `body` only.
    ///
    /// - Throws: an ``ImportError`` if tar cannot read it, or what `body` throws.
    static func extracted<Result>(
        _ file: FilePath, _ body: (FilePath) throws(ImportError) -> Result
    ) throws(ImportError) -> Result {
        var template = Array("\(temporary)/cdmfs-import-XXXXXX".utf8CString)
        guard unsafe mkdtemp(&template) != nil else { throw ImportError(.noInput, temporary, "\(Errno.last)") }
        let directory = FilePath(platformString: template)
        defer { _ = try? run(["rm", "-rf", "--", directory.string]) }
        let complaint: String?
        do throws(Errno) {
            // What is in sys/ and proc/ only; owners and modes of the archive mean nothing here.
            complaint = try run([
                "tar", "-xf", file.string, "-C", directory.string, "--no-same-owner", "--no-same-permissions",
                "--delay-directory-restore",
            ])
        } catch {
            throw ImportError(.noInput, "tar", "\(error)")
        }
        if let complaint { throw ImportError(.data, "\(file)", complaint) }
        return try body(directory)
    }

    private static var temporary: String {
        guard let name = unsafe getenv("TMPDIR"), unsafe name.pointee != 0 else { return "/tmp" }
        return unsafe String(cString: name)
    }

    /// Runs a program; the first line of its complaint if it fails.
    private static func run(_ words: [String]) throws(Errno) -> String? {
        var ends: [Int32] = [-1, -1]
        try SystemCall.check(unsafe pipe(&ends))
        defer { close(ends[0]) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        var pid: pid_t = 0
        let started = unsafe withArgumentVector(words) {
            unsafe posix_spawnp(&pid, words[0], &actions, nil, $0, Glibc.environ)
        }
        close(ends[1])
        guard started == 0 else { throw Errno(rawValue: started) }
        let complaint = (try? SmallFile.text(FileDescriptor(rawValue: ends[0]))) ?? ""
        guard try SystemCall.waitForEnd(of: pid) != 0 else { return nil }
        return complaint.split(separator: "\n").first.map(String.init) ?? "\(words[0]) fails"
    }
}
