import AttributeTree
import SystemPackage

/// Programs in sys/kernel/cdm.
enum ProgramAttributes {
    static let programs = Attribute<TreeServices>.readWrite(
        "programs", permissions: [.ownerReadWrite, .groupReadWrite, .otherReadWrite],
        summary:
            "Write LISTENER SOCKET, descriptors of the writer: the reported system calls act on the machine. Read: what else there is for programs.",
        show: { services throws(Errno) in services.files.hasMemoryOfPrograms ? "memory" : "" },
        store: { services, text throws(Errno) in
            let words = text.words
            guard words.count == 2, let listener = Int32(exactly: try words[0].integer()),
                let socket = Int32(exactly: try words[1].integer()), listener >= 0, socket >= 0
            else { throw text.refused(.invalidArgument, "expected two descriptor numbers of the writer") }
            guard text.writer > 0 else {
                throw text.refused(.noSuchProcess, "the writer has no number in the daemon's PID namespace")
            }
            try services.files.serve(
                listener: listener, keeper: socket, of: text.writer, user: text.client.user)
        })
}
