import CoherentTree
import Fuse

/// What of the directory has controls below sys/kernel/cdm/buffers: all but sockets and their like.
extension BufferDirectory: BufferFolder {
    var inode: UInt64 { number.rawValue }

    func names(at places: ClosedRange<UInt64>) -> [(place: UInt64, name: String)] {
        var start = places.lowerBound
        while start <= places.upperBound, case let some = entries(at: start...places.upperBound), let last = some.last {
            let controlled = some.filter { $0.entry.type != .socket }
            if !controlled.isEmpty { return controlled.map { ($0.place, $0.entry.name.string) } }
            start = last.place + 1
        }
        return []
    }

    func entry(named name: String) -> BufferEntry? {
        switch lookup(FileName(name)) {
        case let child as BufferDirectory: .folder(child)
        case let file as BufferFile: .buffer(file.buffer, inode: file.number.rawValue)
        default: nil
        }
    }
}
