import AttributeTree
import CoherentMemory
import SystemPackage

/// An open nodeN/cdm/blockers: of which node it tells, and whom.
struct BlockerListing: Sendable {
    let services: TreeServices
    let node: CoherentMemory.Node
    /// However the file is handed on, who opened it may see what it shows.
    let opener: Credentials

    init(_ services: TreeServices, _ node: CoherentMemory.Node, _ opener: Opener) {
        self.services = services
        self.node = node
        self.opener = Credentials(opener)
    }

    static let attribute = Attribute<BlockerListing>.readOnly(
        "blockers", permissions: .ownerRead,
        summary: "Frames that cannot move, a line a run, and the processes that map them.",
        records: { listing, address, client in
            // Processes are looked into for each part anew, so it is a large one.
            let held = listing.services.heldBlockers(of: listing.node, from: address, limit: 1024)
            let numbers = TaskNumbers(for: client)
            return held.map {
                TextRecord(listing.line($0, numbers), next: $0.blocker.physicalAddress + UInt64($0.blocker.bytes.count))
            }
        }
    ).shownInJob()

    private func line(_ held: HeldBlocker, _ numbers: borrowing TaskNumbers) -> String {
        let blocker = held.blocker
        return "\(hex(blocker.physicalAddress)) \(hex(UInt64(blocker.bytes.count))) \(blocker.reason.rawValue) "
            + "\(name(of: blocker.buffer)) \(held.list(numbers))\n"
    }

    private func name(of buffer: Buffer) -> String {
        services.files.name(of: buffer.id).shown(to: Uevent.Viewer(opener), escape: Self.escaped)
    }

    /// Blanks and the like in octal, for they would end the word.
    static func escaped(_ path: String) -> String {
        String(
            decoding: path.utf8.flatMap { byte -> [UInt8] in
                guard byte <= 0x20 || byte == UInt8(ascii: "\\") || byte == 0x7f else { return [byte] }
                let digits = String(byte, radix: 8)
                return Array(("\\" + String(repeating: "0", count: 3 - digits.utf8.count) + digits).utf8)
            }, as: UTF8.self)
    }
}
