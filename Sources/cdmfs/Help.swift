import ArgumentParser
import CoherentFS
import Glibc
import LinuxSupport
import SystemPackage

/// `cdmfs help`, in place of the argument parser's own.
struct Help: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Explain a file of a mount, or a command.",
        usage: "cdmfs help [<file> ...]\ncdmfs help --all | --markdown | --man <page>\ncdmfs help <command>",
        discussion: """
            FILE is a path of a mount (/mnt/cdm/sys/class/cdm/cdm0/state), the end of a path, with numbers or with the \
            letters of the reference (node1/distance, nodeN/distance), or a name (migrate), which stands for every file of \
            that name. For a directory it lists the files. No machine needs to be mounted.

            Exit status: 0 on success, 64 if there is no such file or command.
            """)

    @Flag(help: "List all files, one line each.")
    var all = false

    @Flag(help: "Print the whole reference in Markdown.")
    var markdown = false

    @Option(
        help: ArgumentHelp(
            "Print a manual page for man(1): \(ManualPage.allCases.map(\.rawValue).joined(separator: ", ")).",
            valueName: "page"))
    var man: ManualPage?

    @Argument(help: "Files or a command.", completion: .helpTopics)
    var subjects: [String] = []

    func validate() throws {
        guard [all, markdown, man != nil, !subjects.isEmpty].count(where: { $0 }) <= 1 else {
            throw ValidationError("--all, --markdown, --man and files exclude each other.")
        }
    }

    func run() throws {
        if let man { return print(try man.text(), terminator: "") }
        if !all, !markdown {
            guard let first = subjects.first else { throw CleanExit.helpRequest() }
            if let command = Cdmfs.command(named: first) { throw CleanExit.helpRequest(command) }
        }
        let reference: FileReference
        do throws(Errno) {
            reference = try FileReference()
        } catch {
            throw Failure(.failure, "help: \(error)")
        }
        if all {
            print(reference.list(reference.entries.filter { !$0.path.isEmpty }), terminator: "")
        } else if markdown {
            print(reference.markdown, terminator: "")
        } else {
            var texts: [String] = []
            for subject in subjects {
                let entries = reference.entries(for: Self.placeInMount(subject) ?? subject)
                guard !entries.isEmpty else {
                    throw Failure(.usage, "help: \(subject): neither a file of a mount nor a command")
                }
                texts.append(reference.text(of: entries))
            }
            print(texts.joined(separator: "\n"), terminator: "")
        }
    }

    /// Where a path of a mounted machine stands in it; nil for any other. Only whether a relative one is there is
    /// asked of the mount, for it may be a name of the reference as well.
    private static func placeInMount(_ path: String) -> String? {
        guard let full = FilePath(path).isAbsolute ? FilePath(path) : currentDirectory?.pushing(FilePath(path)),
            let mount = MountInfo.containing(full.lexicallyNormalized()), mount.isMachine
        else { return nil }
        var inner = full.lexicallyNormalized()
        _ = inner.removePrefix(FilePath(mount.mountPoint))
        if !FilePath(path).isAbsolute, unsafe access(full.string, F_OK) != 0 { return nil }
        return mount.root + "/" + inner.string
    }

    private static var currentDirectory: FilePath? {
        guard let path = unsafe getcwd(nil, 0) else { return nil }
        defer { unsafe free(path) }
        return unsafe FilePath(platformString: path)
    }
}
