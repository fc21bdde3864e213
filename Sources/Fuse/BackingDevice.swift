import LinuxSupport
import SystemPackage

/// A setting of the mount's backing device that could not be written.
public struct TuningFailure: Hashable, Sendable, CustomStringConvertible {
    /// The file below `/sys/class/bdi/MAJOR:MINOR`.
    public let attribute: String
    /// What was to be written.
    public let value: String
    /// Why it was not.
    public let errno: Errno

    /// One line for a log.
    public var description: String { "\(attribute)=\(value): \(errno)" }
}

extension Session {
    /// Lets mapped stores and readahead go at full speed: by default the kernel holds a FUSE mount to 1 % of the dirty memory,
    /// strictly. Needs root; what fails makes the mount slower, never wrong.
    ///
    /// Call it after `waitUntilServing()`: the answer to INIT caps the readahead once more.
    ///
    /// - Parameter readAheadKilobytes: the readahead window, KiB.
    /// - Returns: what could not be written; empty when all is well.
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
