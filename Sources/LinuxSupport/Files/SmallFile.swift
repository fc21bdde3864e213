import SystemPackage

/// The first `limit` bytes of a file.
func readFile(_ path: FilePath, limit: Int) throws(Errno) -> [UInt8] {
    do {
        let file = try FileDescriptor.open(path, .readOnly)
        return try file.closeAfter {
            var contents: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65536)
            while contents.count < limit {
                let count = try unsafe buffer.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
                if count == 0 { break }
                contents += buffer[..<count]
            }
            return Array(contents.prefix(limit))
        }
    } catch let error as Errno {
        throw error
    } catch {
        throw .ioError
    }
}
