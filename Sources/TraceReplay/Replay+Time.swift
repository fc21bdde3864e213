import CoherentMemory
import MachineTopology
import SystemPackage

/// The virtual time of kswapd and of balancing: what the machine does by itself happens between the inputs.
extension Replay {
    /// Replays all events.
    public func run() {
        if let isolation = options.isolation {
            for node in machine.nodes where node.kind == .coherent {
                attempt { () throws(Errno) in
                    try machine.setIsolation(isolation, of: node)
                }
            }
        }
        if let isOn = options.demotion { machine.isDemotionEnabled = isOn }
        if let mode = options.balancing { machine.updateBalancing { $0.mode = BalancingMode(rawValue: mode) } }
        while next < trace.events.count {
            step()
            // What happens at one moment happens before the threads of the background have the CPU.
            if next < trace.events.count, moment(trace.events[next].time) == machine.replayTime { continue }
            machine.moveMisplaced()
            machine.doBackgroundWork(&work) { self.waitForUse() }
            take()
        }
        for device in machine.devices { linkTime[device.name] = device.modelledNanoseconds }
        notes = counts.sentences(of: trace, options)
    }

    /// Nanoseconds of the replay of a time of the trace.
    private func moment(_ time: UInt64) -> Int64 { Int64(min(time &- min(start, time), Self.lastMoment)) }

    /// Later times are this one: decades.
    private static let lastMoment: UInt64 = 1 << 61

    /// Has the next event happen at its time.
    private func step() {
        let event = trace.events[next]
        next += 1
        advance(to: event.time)
        apply(event)
        // Pages that devices had are free when the devices have let go of them.
        for device in machine.devices where device.queue.depth > 0 { _ = device.queue.waitUntilIdle(seconds: 600) }
        take()
    }

    /// After so many turns without an event the background work has nothing new to find.
    private static let idleTurns = 10_000

    /// Does what happens in the background until a time.
    private func advance(to time: UInt64) {
        let moment = moment(time)
        var turns = 0
        // Only the outermost has the hand of the background work.
        while depth == 0, let due = machine.nextBackgroundWork(work), due <= moment {
            turns += 1
            guard turns < Self.idleTurns else {
                machine.setReplayTime(moment)
                work.skip(to: machine)
                break
            }
            machine.setReplayTime(due)
            machine.doBackgroundWork(&work) { self.waitForUse() }
            take()
        }
        machine.setReplayTime(moment)
    }

    /// What happens while reclaim waits for the use of pages.
    func waitForUse() {
        let end = machine.replayTime + Machine.reuseTime
        // A reclaim within a reclaim within …: at some depth time stands still.
        if depth < 8 {
            depth += 1
            while next < trace.events.count, moment(trace.events[next].time) <= end { step() }
            machine.moveMisplaced()
            depth -= 1
        }
        machine.setReplayTime(end)
    }
}
