public import CLinux
import Glibc
public import SystemPackage

extension Errno {
    /// The error of the last C call that failed on this thread (errno(3)).
    public static var last: Errno { Errno(rawValue: unsafe __errno_location().pointee) }

    /// The name of the number, such as `EIO`; the number itself if it has none.
    public var name: String {
        guard let name = unsafe clinux_errno_name(rawValue) else { return "\(rawValue)" }
        return unsafe String(cString: name)
    }
}

/// Conversion of the results of C calls to values and errors.
public enum SystemCall {
    /// The result of a call; negative means failure.
    ///
    /// - Throws: the call's error.
    @inlinable @discardableResult
    public static func check<Value: SignedInteger>(_ result: Value) throws(Errno) -> Value {
        guard result >= 0 else { throw Errno.last }
        return result
    }

    /// The result of a call, which is repeated as long as signals interrupt it (TEMP_FAILURE_RETRY of unistd.h).
    ///
    /// - Throws: the call's error, never EINTR.
    @inlinable @discardableResult
    public static func retry<Value: SignedInteger>(_ call: () -> Value) throws(Errno) -> Value {
        while true {
            let result = call()
            if result >= 0 { return result }
            let error = Errno.last
            if error != .interrupted { throw error }
        }
    }

    /// Repeats a call that transfers bytes, such as pread(2), until all are transferred or there are no more.
    ///
    /// - Parameters:
    ///   - count: the number of bytes to transfer.
    ///   - call: transfers bytes; its argument is the number of bytes transferred before.
    /// - Returns: the number of bytes transferred: `count`, or less if a call transferred none.
    /// - Throws: the call's error, never EINTR.
    @inlinable
    public static func transfer(_ count: Int, _ call: (Int) -> Int) throws(Errno) -> Int {
        var done = 0
        while done < count {
            let moved = try retry { call(done) }
            if moved == 0 { break }
            done += moved
        }
        return done
    }

    /// Waits for the end of a child, and returns its exit status as in waitpid(2).
    ///
    /// - Throws: ECHILD if it is not a child.
    public static func waitForEnd(of child: pid_t) throws(Errno) -> Int32 {
        var status: Int32 = 0
        try retry { unsafe waitpid(child, &status, 0) }
        return status
    }
}
