public import SystemPackage

/// One record of a long text, usually a line with its newline, and the key of the next record.
public struct TextRecord: Sendable, Hashable {
    /// The text of the record.
    public var text: String
    /// The key of the next record, in a measure of the attribute's own that grows from record to record.
    public var next: UInt64

    /// A record.
    public init(_ text: String, next: UInt64) {
        self.text = text
        self.next = next
    }
}

/// A position in a long text that is read in parts (the counterpart of Linux's `seq_file`).
///
/// Between two reads it keeps the key of the next record and the rest of the last one, never the text. So an open file
/// that is not read costs little, however long the text is. Changes during the reads may or may not appear, as in
/// /proc/PID/maps; a record is never torn.
public struct TextCursor: Sendable {
    /// The offset of the first byte of `rest`.
    private var position = 0
    private var rest: ArraySlice<UInt8> = []
    private var key: UInt64 = 0

    /// The start of a text.
    public init() {}

    /// The bytes at an offset; fewer than `count` only at the end. A read from the start, or before the position of the
    /// last one, makes the text again.
    ///
    /// - Throws: the error of the attribute.
    public mutating func read(
        _ attribute: BoundAttribute, at offset: Int, count: Int, for client: Client = .nobody
    ) throws(Errno) -> [UInt8] {
        if offset == 0 || offset < position { self = TextCursor() }
        var bytes: [UInt8] = []
        take(&bytes, from: offset, count)
        while bytes.count < count {
            let records = try attribute.records(from: key, for: client)
            if records.isEmpty { break }
            for record in records where bytes.count < count {
                key = record.next
                rest = Array(record.text.utf8)[...]
                take(&bytes, from: offset, count)
            }
        }
        return bytes
    }

    /// Moves what there is from an offset on out of `rest`, and leaves out what is before it.
    private mutating func take(_ bytes: inout [UInt8], from offset: Int, _ count: Int) {
        let skipped = min(rest.count, max(0, offset - position))
        let taken = rest.dropFirst(skipped).prefix(count - bytes.count)
        bytes += taken
        position += skipped + taken.count
        rest = rest.dropFirst(skipped + taken.count)
    }
}
