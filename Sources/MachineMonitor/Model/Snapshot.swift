/// What there is to see of a machine at one moment: figures, and how much they grew a second.
package struct Snapshot: Sendable {
    /// A node.
    package struct Node: Sendable, Identifiable {
        /// The number.
        package var id: Int
        /// `ram` or `coherent`.
        package var kind = "ram"
        /// The memory tier; nil for a node in none.
        package var tier: Int?
        /// Bytes online.
        package var present = 0.0
        /// Free bytes.
        package var free = 0.0
        /// Bytes of pages.
        package var allocated = 0.0
        /// Bytes of pages on the active list.
        package var active = 0.0
        /// Bytes of the watermark `min`.
        package var min = 0.0
        /// Bytes of the watermark `low`.
        package var low = 0.0
        /// Bytes of the watermark `high`.
        package var high = 0.0
        /// Pages a second that were allocated as intended.
        package var hits = 0.0
        /// Pages a second that were allocated though another node was intended.
        package var misses = 0.0
        /// Pages a second that were intended for this node, and allocated on another one.
        package var foreign = 0.0
        /// Pages a second that were allocated for tasks that run on the node.
        package var local = 0.0
        /// Pages a second that were allocated for other tasks.
        package var other = 0.0
        /// Hinting faults a second.
        package var hints = 0.0
        /// Requests a second that isolation turned away.
        package var refused = 0.0
        /// Faults a second of the page tables of the node's device.
        package var deviceFaults = 0.0
        /// Pages a second that moved to a slower tier.
        package var demoted = 0.0
        /// Pages a second that came from one.
        package var promoted = 0.0

        /// Bytes that are not free.
        package var used: Double { Swift.max(0, present - free) }

        /// The strictest watermark that the free memory is below.
        package var mark: Mark {
            if present == 0 { return .none }
            if free < min { return .min }
            if free < low { return .low }
            return free < high ? .high : .none
        }

        /// A watermark.
        package enum Mark: String, Sendable {
            case none = "ok"
            case high
            case low
            case min
        }
    }

    /// Pages that move from a node to another one.
    package struct Flow: Sendable {
        /// From where to where, and why.
        package var flow: MachineFigures.Flow
        /// Bytes a second.
        package var rate: Double
        /// Bytes since the mount.
        package var total: Double
    }

    /// The link of a device.
    package struct Link: Sendable {
        /// The device.
        package var device: String
        /// The node of its memory.
        package var node: Int?
        /// Whether the link is up.
        package var isUp = true
        /// Bytes a second that the copy engine copies.
        package var copied = 0.0
        /// Bytes a second that it carries to the CPU at most.
        package var readBandwidth = 0.0
        /// Bytes a second that it carries to the device at most.
        package var writeBandwidth = 0.0
        /// Seconds a second that faults and copies take by the model.
        package var modelled = 0.0
        /// Seconds a second that errors stop it.
        package var stalled = 0.0
        /// Commands that wait or run.
        package var queued = 0.0
        /// Commands a second.
        package var commands = 0.0
        /// Errors of the link, since the device is there.
        package var errors = 0.0
    }

    /// A buffer.
    package struct Buffer: Sendable, Identifiable {
        /// The figures.
        package var figures: BufferFigures
        /// Pages a second that got a frame.
        package var touched = 0.0
        /// Requests to read a second.
        package var reads = 0.0
        /// Requests to store a second.
        package var writes = 0.0
        /// Refusals a second.
        package var refused = 0.0
        /// Pages a second that moved, as far as events tell.
        package var moved = 0.0

        /// The number of the buffer.
        package var id: UInt64 { figures.id }
        /// What makes a buffer hot.
        package var heat: Double { touched + reads + writes + refused + moved }
    }

    /// A thread.
    package struct Task: Sendable, Identifiable {
        /// Its number; 0 for what no thread in particular asked for.
        package var id: Int32
        /// Its name; empty where it has ended.
        package var name = ""
        /// Pages a second that it touched first.
        package var touched = 0.0
        /// Refusals a second.
        package var refused = 0.0
        /// Pages a second that moved because it asked.
        package var moved = 0.0
        /// Pages that it touched first since the view began.
        package var total = 0.0

        /// What makes a task hot.
        package var heat: Double { touched + refused + moved }
    }

    /// A line of the ticker.
    package struct Event: Sendable, Equatable {
        /// Seconds of the day, local time.
        package var time: Int
        /// What happened.
        package var text: String
        /// Whether it calls for attention.
        package var isAlarming = false
    }

    /// The map of a buffer.
    package struct Map: Sendable {
        /// The number of the buffer.
        package var buffer: UInt64
        /// Its pages.
        package var map: BufferMap
        /// Whether all of the range has been read.
        package var isWhole: Bool
    }

    /// Where the machine is mounted.
    package var mountPoint = ""
    /// Seconds of the day of this moment, local time.
    package var time = 0
    /// The seconds that rates are of; nil where there are none yet.
    package var seconds: Double?
    /// The nodes, those of fast tiers first.
    package var nodes: [Node] = []
    /// The flows, the largest first.
    package var flows: [Flow] = []
    /// The links.
    package var links: [Link] = []
    /// The buffers that the user may see, the hottest first.
    package var buffers: [Buffer] = []
    /// The seconds between the last two looks at the buffers.
    package var secondsOfBuffers: Double?
    /// The number of all buffers, those that the user may not see, too.
    package var bufferCount = 0
    /// The tasks of the last interval, the hottest first, then those before; nil where the user may not see events.
    package var tasks: [Task]?
    /// Trace events that were lost in the last interval, because there were too many.
    package var lostEvents = 0.0
    /// The last events, the oldest first.
    package var events: [Event] = []
    /// The map of the selected buffer.
    package var map: Map?

    /// Nothing yet.
    package init() {}
}
