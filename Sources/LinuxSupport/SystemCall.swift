public import Glibc
public import SystemPackage

extension Errno {
    /// The error of the C call that has just failed on this thread (errno(3)).
    public static var last: Errno { Errno(rawValue: unsafe __errno_location().pointee) }
}

/// How the results of C calls become values and errors.
public enum SystemCall {
    /// The result of a call that is negative where it failed.
    ///
    /// - Throws: the call's error.
    @inlinable @discardableResult
    public static func check<Value: SignedInteger>(_ result: Value) throws(Errno) -> Value {
        guard result >= 0 else { throw Errno.last }
        return result
    }

    /// The result of a call, which is made again for as long as signals interrupt it (TEMP_FAILURE_RETRY of unistd.h).
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

    /// Makes a call that moves bytes, such as pread(2), until it has moved them all or there are no more.
    ///
    /// - Parameters:
    ///   - count: how many bytes are to be moved.
    ///   - call: moves bytes; its argument is how many were moved before.
    /// - Returns: how many were moved: `count`, or less where a call moved none.
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

    /// The exit status of a child that has ended, as waitpid(2) gives it; waits for its end.
    ///
    /// - Throws: ECHILD where it is no child.
    public static func waitForEnd(of child: pid_t) throws(Errno) -> Int32 {
        var status: Int32 = 0
        try retry { unsafe waitpid(child, &status, 0) }
        return status
    }
}
