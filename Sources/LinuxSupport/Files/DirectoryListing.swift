import Glibc
public import SystemPackage

/// The names in a directory.
public enum DirectoryListing {
    /// The names except `.` and `..`, in no order; nil if the directory cannot be read.
    public static func names(in directory: FilePath) -> [String]? {
        var names: [String] = []
        let isRead = unsafe forEachEntry(of: directory.string) { name in
            let name = unsafe String(cString: name)
            if name != ".", name != ".." { names.append(name) }
        }
        return isRead ? names : nil
    }

    /// The numbers among the names, in no order, such as those of /proc; nil if the directory cannot be read.
    public static func numbers(in directory: String) -> [Int32]? {
        var numbers: [Int32] = []
        let isRead = unsafe forEachEntry(of: directory) { name in
            var value: Int32?
            var place = unsafe name
            while true {
                let byte = unsafe UInt8(bitPattern: place.pointee)
                if byte == 0 { break }
                guard let digit = ProcFile.digit(byte) else { return }
                value = (value ?? 0) &* 10 &+ Int32(digit)
                unsafe place += 1
            }
            if let value { numbers.append(value) }
        }
        return isRead ? numbers : nil
    }

    private static func forEachEntry(of directory: String, _ body: (UnsafePointer<CChar>) -> Void) -> Bool {
        guard let stream = unsafe opendir(directory) else { return false }
        defer { unsafe closedir(stream) }
        while let entry = unsafe readdir(stream) {
            // The record ends with the name, so the whole of d_name must not be read.
            let start = unsafe UnsafeRawPointer(entry).advanced(by: MemoryLayout<dirent>.offset(of: \.d_name)!)
            unsafe body(start.assumingMemoryBound(to: CChar.self))
        }
        return true
    }
}
