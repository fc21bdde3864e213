import LinuxSupport
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// Instances have events of their own, and the trace does not notice them.
@Suite("Trace instances", .timeLimit(.minutes(1)))
struct TraceInstanceTests {
    private func numbers(_ instance: TraceInstance, _ cursor: inout TraceInstance.Cursor) -> [UInt64] {
        var numbers: [UInt64] = []
        instance.read(&cursor) { item in
            if case .event(let event) = item { numbers.append(event.start) }
            return true
        }
        return numbers
    }

    /// Records as the machine does.
    private func record(_ kind: TraceEvent.Kind, _ number: UInt64, _ trace: Tracer) {
        if trace.isEnabled(kind) { trace.record(TraceEvent(kind, start: number)) }
    }

    @Test("An instance has its kinds and its filter, from its begin to its end; the trace has its own")
    func events() throws {
        let trace = Tracer()
        try trace.updateEnabledKinds { $0 = TraceKinds(.linkState) }
        var main = trace.main.makeCursor()
        record(.touchPlaced, 0, trace)
        let all = try trace.addInstance(.all, kilobytes: 8, clock: .tai, filter: TraceFilter([[.init(.node, 3)]]))
        let touches = try trace.addInstance(TraceKinds(.touchPlaced), kilobytes: 8)
        #expect(all.clock == .tai && touches.clock == .mono)
        var (first, second) = (all.makeCursor(), touches.makeCursor())
        trace.record(TraceEvent(.touchPlaced, start: 1, to: 3))
        record(.touchPlaced, 2, trace)
        trace.record(TraceEvent(.linkState, start: 3, to: 3))
        trace.main.filter = TraceFilter([[.init(.node, 7)]])
        trace.record(TraceEvent(.linkState, start: 4, to: 3))
        trace.main.filter = TraceFilter([])
        #expect(numbers(all, &first) == [1, 3, 4])
        #expect(numbers(touches, &second) == [1, 2])
        #expect(numbers(trace.main, &main) == [3])
        #expect(trace.main.enabledKinds == TraceKinds(.linkState))
        trace.remove(all)
        #expect(!trace.isEnabled(.migrated) && trace.isEnabled(.touchPlaced))
        trace.remove(touches)
        #expect(!trace.isEnabled(.touchPlaced) && trace.isEnabled(.linkState))
    }

    @Test("The next reader of a place has no event of the one before, and none is lost to it")
    func reuse() throws {
        let trace = Tracer()
        for round in 0..<50 as Range<UInt64> {
            let instance = try trace.addInstance(.all, kilobytes: 4)
            var cursor = instance.makeCursor()
            #expect(!instance.hasItem(at: cursor))
            for number in 0..<200 { record(.touchPlaced, round << 32 | UInt64(number), trace) }
            var (had, lost) = (0, 0 as UInt64)
            instance.read(&cursor) { item in
                switch item {
                case .event(let event):
                    #expect(event.start >> 32 == round)
                    had += 1
                case .lost(_, let count): lost += count
                }
                return true
            }
            #expect(had > 0 && UInt64(had) + lost == 200)
            trace.remove(instance)
        }
    }

    @Test("There is a limit of instances, and one that ends makes room")
    func limit() throws {
        let trace = Tracer()
        var instances: [TraceInstance] = []
        for _ in 0..<Tracer.instanceLimit { instances.append(try trace.addInstance(.all, kilobytes: 4)) }
        #expect(Set(instances.map(ObjectIdentifier.init)).count == Tracer.instanceLimit)
        #expect(throws: Errno.resourceBusy) { try trace.addInstance(.all, kilobytes: 4) }
        trace.remove(instances[3])
        let next = try trace.addInstance(.all, kilobytes: 4)
        #expect(throws: Errno.resourceBusy) { try trace.addInstance(.all, kilobytes: 4) }
        #expect(next.enabledKinds == .all)
        for instance in instances + [next] { trace.remove(instance) }
        #expect(!trace.isEnabled(.touchPlaced))
    }

    @Test("Instances begin and end under a flood, and the reader of the trace loses nothing")
    func flood() throws {
        let trace = Tracer()
        try trace.updateEnabledKinds { $0 = .all }
        let (writers, each) = (3, 5_000 as UInt64)
        let finished = Atomic(0)
        let start = trace.main.makeCursor()
        let writing: [@Sendable () -> Void] = (0..<writers).map { writer in
            {
                for number in 0..<each { record(.touchPlaced, UInt64(writer) << 32 | number, trace) }
                finished.wrappingAdd(1, ordering: .sequentiallyConsistent)
            }
        }
        let changing: @Sendable () -> Void = {
            while finished.load(ordering: .sequentiallyConsistent) < writers {
                guard let instance = try? trace.addInstance(.live, kilobytes: 4) else { continue }
                var cursor = instance.makeCursor()
                _ = numbers(instance, &cursor)
                trace.remove(instance)
            }
        }
        runThreads(writing + [changing, changing])
        var cursor = start
        #expect(Set(numbers(trace.main, &cursor)).count == writers * Int(each))
        #expect(trace.main.enabledKinds == .all)
    }
}
