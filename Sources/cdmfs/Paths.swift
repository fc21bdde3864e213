import CLinux
import Glibc
import SystemPackage

/// A path without links, as the table of mounts has mount points; nil, with an errno, where it leads nowhere.
func resolvedPath(_ path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
}

/// Whether a path leads to a directory.
func isDirectory(_ path: FilePath) -> Bool {
    var status = Glibc.stat()
    return unsafe stat(path.string, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}
