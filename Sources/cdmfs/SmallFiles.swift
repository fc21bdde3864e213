import SystemPackage

/// A whole small file as text.
func readAll(_ path: FilePath) throws -> String {
    let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    return try file.closeAfter { try readAll(file) }
}

/// What comes from a file up to its end, as text.
func readAll(_ file: FileDescriptor) throws -> String {
    var contents: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = unsafe try buffer.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
        if count == 0 { return String(decoding: contents, as: UTF8.self) }
        contents += buffer[..<count]
    }
}

/// Writes a small file of /proc in one write(2).
func write(_ text: String, to path: FilePath) throws {
    let file = try FileDescriptor.open(path, .writeOnly, options: .closeOnExec)
    _ = try file.closeAfter { try file.writeAll(text.utf8) }
}
