import Glibc
import LinuxSupport
import SystemPackage
import TraceFormat

/// A file of events, read as far as there are some.
struct EventFile: ~Copyable {
    private let file: FileDescriptor
    private var buffer = [UInt8](repeating: 0, count: 1 << 16)

    /// Opens it.
    ///
    /// - Throws: errors of open(2).
    init(_ path: FilePath) throws(Errno) {
        file = FileDescriptor(
            rawValue: try SystemCall.retry { unsafe open(path.string, O_RDONLY | O_NONBLOCK | O_CLOEXEC) })
    }

    deinit { close(file.rawValue) }

    /// What there is, up to a number of reads; empty for nothing.
    mutating func read(limit: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<limit {
            guard
                let count = try? SystemCall.retry({ [file] in
                    unsafe Glibc.read(file.rawValue, &buffer, buffer.count)
                }), count > 0
            else { break }
            bytes += buffer[..<count]
        }
        return bytes
    }
}

/// The events of a machine: what sys/kernel/cdm/trace/trace_pipe_watch and sys/kernel/cdm/uevents tell since they were opened.
struct EventStreams: ~Copyable {
    private var watch: EventFile?
    private var uevents: EventFile?
    private var decoder = RawTrace.Decoder()

    /// The reads of each file for one sample: beyond them events are lost, which the file counts.
    private static let readLimit = 8

    init(_ mount: FilePath) {
        let folder = mount.appending("sys/kernel/cdm")
        // Only root may watch.
        watch = try? EventFile(folder.appending("trace/trace_pipe_watch"))
        uevents = try? EventFile(folder.appending("uevents"))
    }

    /// Whether the user may see trace events.
    var seesTrace: Bool { watch != nil }

    /// Gives a model what has come.
    mutating func read(into model: inout MachineModel, at time: Int) {
        let text = uevents?.read(limit: Self.readLimit) ?? []
        if !text.isEmpty { model.add(uevents: String(decoding: text, as: UTF8.self), at: time) }
        let records = watch?.read(limit: Self.readLimit) ?? []
        guard !records.isEmpty else { return }
        decoder.add(records)
        do {
            while let record = try decoder.next() { model.add(record, at: time) }
        } catch {
            // Of a machine that is newer than this program.
            watch = nil
            model.setSeesEvents(false)
        }
    }
}
