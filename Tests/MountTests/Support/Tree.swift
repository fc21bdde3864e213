import CLinux
import Foundation
import SystemPackage

extension TestMount {
    // MARK: Attributes

    /// The whole text of a file, read to its end.
    func text(_ file: String) throws -> String {
        let descriptor = try FileDescriptor.open(FilePath(path + "/" + file), .readOnly)
        return try descriptor.closeAfter {
            var bytes: [UInt8] = []
            while true {
                let chunk = try unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                    count = try unsafe descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
                }
                if chunk.isEmpty { return String(decoding: bytes, as: UTF8.self) }
                bytes += chunk
            }
        }
    }

    /// The text without its newline.
    func word(_ file: String) throws -> String {
        try text(file).trimmingCharacters(in: .newlines)
    }

    /// One write(2), as `echo text > file` makes it.
    func store(_ text: String, in file: String) throws {
        try store(Array((text + "\n").utf8), in: file)
    }

    func store(_ bytes: [UInt8], in file: String) throws {
        let descriptor = try FileDescriptor.open(FilePath(path + "/" + file), .writeOnly, options: .truncate)
        let count = try descriptor.closeAfter { unsafe try bytes.withUnsafeBytes { unsafe try descriptor.write($0) } }
        guard count == bytes.count else { throw Failure("\(file): \(count) of \(bytes.count) bytes stored") }
    }

    /// `name value` lines.
    func values(_ file: String) throws -> [String: Int] {
        try text(file).split(separator: "\n").reduce(into: [:]) { values, line in
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.count == 2, let value = Int(words[1]) { values[String(words[0])] = value }
        }
    }

    // MARK: Nodes

    private static let nodeFolder = "sys/devices/system/node"

    /// The nodes that are online.
    func nodes() throws -> [Int] {
        try parseList(word("\(TestMount.nodeFolder)/online"))
    }

    /// The figures of a node's meminfo, in kB, or a count for those without a unit.
    func meminfo(_ node: Int) throws -> [String: Int] {
        try text("\(TestMount.nodeFolder)/node\(node)/meminfo").split(separator: "\n").reduce(into: [:]) {
            values, line in
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.count >= 4 { values[String(words[2].dropLast())] = Int(words[3]) }
        }
    }

    func numastat(_ node: Int) throws -> [String: Int] { try values("\(TestMount.nodeFolder)/node\(node)/numastat") }

    func vmstat(_ node: Int) throws -> [String: Int] { try values("\(TestMount.nodeFolder)/node\(node)/vmstat") }

    /// Pages ever taken from the node, whoever wanted them there.
    func allocations(_ node: Int) throws -> Int {
        let numastat = try numastat(node)
        return numastat["numa_hit", default: 0] + numastat["numa_miss", default: 0]
    }

    // MARK: Buffers

    /// Makes a buffer and returns its data file's path.
    @discardableResult
    func makeBuffer(_ name: String, size: Int, policy: String? = nil) throws -> String {
        let file = "\(path)/buffers/\(name)"
        let descriptor = try FileDescriptor.open(
            FilePath(file), .readWrite, options: [.create, .exclusiveCreate], permissions: [.ownerReadWrite])
        try descriptor.closeAfter {
            guard ftruncate(descriptor.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
        }
        if let policy { try store(policy, in: control(name) + "/policy") }
        return file
    }

    /// The folder of a buffer's controls, below the mount.
    func control(_ buffer: String) -> String { "sys/kernel/cdm/buffers/\(buffer)" }

    /// Pages by node.
    func placement(_ buffer: String) throws -> [Int: Int] {
        try word(control(buffer) + "/placement").split(separator: " ").reduce(into: [:]) { placement, word in
            let pair = word.dropFirst().split(separator: "=")
            guard word.first == "N", pair.count == 2, let node = Int(pair[0]), let pages = Int(pair[1]) else {
                throw Failure("placement says \(word)")
            }
            placement[node] = pages
        }
    }

    /// One line of a buffer's `pages`.
    struct Run: Equatable {
        let offset, length, node, physical: Int
        let flags: String
    }

    func pages(_ buffer: String) throws -> [Run] {
        try text(control(buffer) + "/pages").split(separator: "\n").map { line in
            let words = line.split(separator: " ").map(String.init)
            func hex(_ word: String) -> Int? { Int(word.hasPrefix("0x") ? String(word.dropFirst(2)) : word, radix: 16) }
            guard words.count >= 5, let offset = hex(words[0]), let length = hex(words[1]), let node = Int(words[2]),
                let physical = hex(words[3])
            else { throw Failure("pages says \(line)") }
            return Run(
                offset: offset, length: length, node: node, physical: physical,
                flags: words[4...].joined(separator: " "))
        }
    }

    /// The memory blocks that hold pages of a buffer.
    func blocks(of buffer: String) throws -> [Int] {
        let size = try blockSize()
        return try Set(pages(buffer).flatMap { $0.physical / size...($0.physical + $0.length - 1) / size }).sorted()
    }

    func blockSize() throws -> Int {
        let text = try word("sys/devices/system/memory/block_size_bytes")
        guard let size = Int(text, radix: 16) else { throw Failure("block_size_bytes says \(text)") }
        return size
    }

    /// Writes a file from its beginning until there is no more memory, or to `limit`; returns how many bytes went in.
    @discardableResult
    func fill(_ file: String, limit: Int = .max) throws -> Int {
        let descriptor = try FileDescriptor.open(
            FilePath(file), .writeOnly, options: .create, permissions: .ownerReadWrite)
        return try descriptor.closeAfter {
            let chunk = [UInt8](repeating: 0x5a, count: 1 << 20)
            var total = 0
            while total < limit {
                do {
                    total += try descriptor.writeAll(chunk.prefix(limit - total))
                } catch Errno.noSpace {
                    // What fits in part is taken page by page.
                    var page = try descriptor.seek(offset: 0, from: .end)
                    while (try? descriptor.writeAll(toAbsoluteOffset: page, chunk.prefix(4096))) != nil { page += 4096 }
                    return Int(page)
                }
            }
            return total
        }
    }

    /// Punches out everything a file holds.
    func hollow(_ file: String) throws {
        let descriptor = try FileDescriptor.open(FilePath(path + "/" + file), .readWrite)
        try descriptor.closeAfter {
            let size = try descriptor.seek(offset: 0, from: .end)
            guard fallocate(descriptor.rawValue, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, off_t(size)) == 0
            else { throw Errno(rawValue: errno) }
        }
    }

    // MARK: Walking

    /// One entry of a walk.
    struct Entry {
        let file: String
        let status: stat
        var permissions: mode_t { status.st_mode & 0o7777 }
        var kind: mode_t { status.st_mode & S_IFMT }
    }

    /// The names in a folder, sorted.
    func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path + "/" + folder).sorted()
    }

    /// Every entry below a folder, links not followed.
    func walk(_ folder: String) throws -> [Entry] {
        try names(in: folder).flatMap { name in
            let entry = try entry(folder + "/" + name)
            return [entry] + (entry.kind == S_IFDIR ? try walk(entry.file) : [])
        }
    }

    func entry(_ file: String) throws -> Entry {
        Entry(file: file, status: try status(path + "/" + file))
    }
}

/// lstat(2)
func status(_ path: String) throws -> stat {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { throw Errno(rawValue: errno) }
    return status
}

/// The members of a list in the kernel's format.
func parseList(_ text: String) throws -> [Int] {
    try text.split(separator: ",").flatMap { range in
        let ends = range.split(separator: "-").map { Int($0) }
        guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, first <= last else {
            throw Failure("no list: \(text)")
        }
        return Array(first...last)
    }
}
