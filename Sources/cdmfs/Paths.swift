import Glibc
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

/// The names in a directory that begin with a digit; none where it cannot be read.
func namesOfNumbers(in directory: FilePath) -> [String] {
    names(in: directory).filter { $0.first?.isNumber == true }
}

/// The names in a directory, but for `.` and `..`; none where it cannot be read.
func names(in directory: FilePath) -> [String] {
    guard let stream = unsafe opendir(directory.string) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
        // The record ends with the name, so the whole of d_name must not be read.
        let start = unsafe UnsafeRawPointer(entry).advanced(by: MemoryLayout<dirent>.offset(of: \.d_name)!)
        let name = unsafe String(cString: start.assumingMemoryBound(to: CChar.self))
        if name != ".", name != ".." { names.append(name) }
    }
    return names
}

/// Whether a path leads to a directory.
func isDirectory(_ path: FilePath) -> Bool {
    var status = Glibc.stat()
    return unsafe stat(path.string, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}
