import Glibc
import LinuxSupport
import SystemPackage

/// Reads the files of a mount for a ``MachineModel``, as an ordinary user may.
///
/// It does not wait for events, and bounds what it costs the machine: the counters are one file; the buffers are another one, which is
/// read so seldom that it takes ``share`` of the time at most; events come from files that keep the newest ones and count others; and the
/// map of the selected buffer is read in parts.
package struct MachineReader: ~Copyable {
    private let mount: FilePath
    private var model: MachineModel
    private var events: EventStreams
    private var sweep: MapSweep?
    /// When the buffers are read again.
    private var nextBuffers: UInt64 = 0

    /// The share of the time that the buffers may take, and the map, each one part of so many.
    private static let share: UInt64 = 50
    /// Nanoseconds that a line of the buffers takes, of the machine and here.
    private static let costOfLine: UInt64 = 4000
    /// Names of tasks that are looked up for one sample.
    private static let nameLimit = 32

    /// Opens the files of events of a machine, which tell what happens from then on.
    package init(_ mount: FilePath) {
        self.mount = mount
        model = MachineModel(mountPoint: mount.string)
        events = EventStreams(mount)
        model.setSeesEvents(events.seesTrace)
    }

    /// Reads all there is but the map.
    ///
    /// - Parameters:
    ///   - interval: nanoseconds to the next sample.
    /// - Throws: errors of open(2) and read(2) for the counters, without which there is no machine.
    package mutating func sample(interval: UInt64) throws(Errno) -> Snapshot {
        let text = try SmallFile.text(mount.appending("sys/kernel/cdm/metrics"))
        let now = LocalClock.nanoseconds
        let figures = MachineFigures(text, at: now)
        let time = LocalClock.secondOfDay
        events.read(into: &model, at: time)
        if now >= nextBuffers, let text = try? SmallFile.text(mount.appending("sys/kernel/cdm/bufferinfo")) {
            let table = BufferTable(text, at: now)
            model.add(table)
            // A little less than an interval, for samples are not to the nanosecond.
            nextBuffers = now + max(interval / 10 * 9, UInt64(table.buffers.count) * Self.costOfLine * Self.share)
        }
        _ = model.add(figures, at: time)
        for task in model.namelessTasks.prefix(Self.nameLimit) {
            if let name = try? SmallFile.text(FilePath("/proc/\(task)/comm")) {
                model.setName(name.last == "\n" ? String(name.dropLast()) : name, ofTask: task)
            }
        }
        return model.current
    }

    /// Reads on in the pages of a buffer, as long as it is the same one; nil for none.
    ///
    /// - Returns: what there is to see now.
    package mutating func setMap(_ request: MapRequest?, interval: UInt64) -> Snapshot {
        if let request {
            if sweep?.request != request { sweep = MapSweep(request, of: mount) }
        } else {
            sweep = nil
        }
        do throws(Errno) {
            try sweep?.advance(for: interval / Self.share)
        } catch {
            // The buffer may have gone.
            sweep = nil
        }
        model.add(sweep?.result)
        return model.current
    }
}
