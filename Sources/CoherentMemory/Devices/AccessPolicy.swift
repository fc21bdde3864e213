import Synchronization
import SystemPackage

/// When pages move because of who touches them. Off, for both ways, until a number is set; only pages of buffers whose
/// policy is the default move, for others say where they are to be.
public final class AccessPolicy: Sendable {
    /// The numbers of touches that can be set.
    public static let range = 0...1000

    private let deviceLimit = Atomic(0)
    private let cpuLimit = Atomic(0)
    private let toDevice = Atomic(0)
    private let toCPU = Atomic(0)

    /// After how many faults of the device on a page that is elsewhere the page moves to the device; 0 for never.
    public var deviceFaults: Int { deviceLimit.load(ordering: .relaxed) }

    /// After how many touches of the CPU that took a page of the device's memory back from it the page moves away, to the
    /// nearest node of RAM; 0 for never.
    public var cpuFaults: Int { cpuLimit.load(ordering: .relaxed) }

    /// Sets ``deviceFaults``. ERANGE for what is not in ``range``.
    public func setDeviceFaults(_ count: Int) throws(Errno) {
        guard Self.range.contains(count) else { throw .outOfRange }
        deviceLimit.store(count, ordering: .relaxed)
    }

    /// Sets ``cpuFaults``. ERANGE for what is not in ``range``.
    public func setCPUFaults(_ count: Int) throws(Errno) {
        guard Self.range.contains(count) else { throw .outOfRange }
        cpuLimit.store(count, ordering: .relaxed)
    }

    /// Pages that moved to the device, and away from it. Where both grow at the same pace, pages thrash.
    public var moved: (toDevice: Int, toCPU: Int) {
        (toDevice.load(ordering: .relaxed), toCPU.load(ordering: .relaxed))
    }

    func count(toDevice pages: Int) { toDevice.add(pages, ordering: .relaxed) }

    func count(toCPU pages: Int) { toCPU.add(pages, ordering: .relaxed) }
}
