import AttributeTree
import CoherentMemory
import SystemPackage

/// An open sys/kernel/cdm/bufferinfo: all buffers at once, where the directory of each would take a hundred thousand calls.
struct BufferListing: Sendable {
    private let services: TreeServices
    /// However the file is handed on, who opened it may see what it shows.
    private let opener: Credentials

    init(_ services: TreeServices, _ opener: Opener) {
        self.services = services
        self.opener = Credentials(opener)
    }

    static let attribute = Attribute<BufferListing>.readOnly(
        "bufferinfo", summary: "The buffers whose controls the reader may see, a line each, with their counters.",
        records: { listing, id, _ in listing.records(from: id, limit: 256) }
    ).shownInJob()

    private func records(from id: UInt64, limit: Int) -> [TextRecord] {
        var records: [TextRecord] = []
        var next = id
        while records.count < limit, let buffer = services.machine.nextBuffer(from: next) {
            next = buffer.id + 1
            if let line = line(of: buffer) { records.append(TextRecord(line, next: next)) }
        }
        return records
    }

    /// Nil for a buffer whose controls the reader may not see, and for one that has none.
    private func line(of buffer: Buffer) -> String? {
        guard !buffer.isAnonymous, let ownership = services.files.ownership(of: buffer),
            opener.mayLookInto(ownership)
        else { return nil }
        let name = services.files.name(of: buffer.id)
        switch name {
        case .buffer(let place): guard place.isOpen(to: opener) else { return nil }
        // One that was removed is whose it was.
        default: guard buffer.fixedSize != nil || opener.areOwners(of: ownership.uid) else { return nil }
        }
        let counters = buffer.counters
        let placement = services.machine.placement(of: buffer).map { "N\($0.node)=\($0.pages)" }
        let figures = [
            buffer.id, buffer.size, UInt64(buffer.residentPages) * Page.size, counters.read, counters.write,
            counters.cpu, counters.device, counters.refused,
        ]
        let words =
            figures.map(String.init) + [
                placement.isEmpty ? "-" : placement.joined(separator: ","), buffer.isPinned ? "pinned" : "-",
                name.shown(to: Uevent.Viewer(opener), escape: BlockerListing.escaped),
            ]
        return words.joined(separator: " ") + "\n"
    }
}
