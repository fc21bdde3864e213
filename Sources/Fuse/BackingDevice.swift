import LinuxSupport
import SystemPackage

/// A setting of the mount's backing device that could not be written.
public struct TuningFailure: Hashable, Sendable, CustomStringConvertible {
    /// The file below `/sys/class/bdi/MAJOR:MINOR`.
    public let attribute: String
    /// The value that could not be written.
    public let value: String
    /// The error of the write.
    public let errno: Errno

    /// One line for a log.
    public var description: String { "\(attribute)=\(value): \(errno)" }
}

extension Session {
    /// Allows mapped stores and readahead at full speed. By default the kernel strictly limits a FUSE mount to 1 % of
    /// the dirty memory. Needs root; a setting that fails makes the mount slower, never wrong.
    ///
    /// Call it after `waitUntilServing()`, because the answer to INIT limits the readahead again.
    ///
    /// - Parameter readAheadKilobytes: the readahead window, KiB.
    /// - Returns: the settings that could not be written; empty on success.
    public func tuneBackingDevice(readAheadKilobytes: Int = 1024) -> [TuningFailure] {
        let settings = [
            ("strict_limit", "0"), ("max_ratio", "100"), ("read_ahead_kb", String(readAheadKilobytes)),
        ]
        return settings.compactMap { attribute, value in
            guard let device else {
                return TuningFailure(attribute: attribute, value: value, errno: .operationNotSupportedByDevice)
            }
            do throws(Errno) {
                try SmallFile.write(value, to: FilePath("/sys/class/bdi/\(device)/\(attribute)"))
                return nil
            } catch {
                return TuningFailure(attribute: attribute, value: value, errno: error)
            }
        }
    }
}
