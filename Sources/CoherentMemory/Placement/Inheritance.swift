/// What tasks were given and hand down to the tasks that they make, as fork(2) copies it: each task has what its maker
/// had when it began.
struct Inheritance<Value: Sendable>: Sendable {
    /// What a task has from a moment on.
    private struct Change {
        var since: UInt64
        /// The task that was made last before that moment, for start times have a resolution of 10 ms.
        var newest: Int32?
        /// nil for nothing.
        var value: Value?

        /// Whether a task was made after the change.
        func isBefore(_ id: Int32, _ task: TaskDescription) -> Bool {
            guard since == task.startTime, let newest else { return since <= task.startTime }
            // Numbers ascend, and then begin anew at the lowest that is free. In one tick there are fewer than half of the numbers.
            let distance = id &- newest
            return distance > 0 && distance < Self.half || distance < -Self.half
        }

        /// Half of the numbers where there are as few as usual.
        private static var half: Int32 { 1 << 14 }
    }

    private struct Record {
        var startTime: UInt64
        /// What it was given, and when, in ascending order.
        var changes: [Change]
    }

    /// Enough to tell what a child that began between two changes inherited.
    private static var remembered: Int { 8 }

    private var records: [Int32: Record] = [:]
    private var limit = 1024

    var isEmpty: Bool { records.isEmpty }

    /// The tasks that were given something, or inherited it and asked since.
    var tasks: [Int32] { Array(records.keys) }

    mutating func set(_ value: Value, of id: Int32, _ task: TaskDescription, in tasks: some TaskDirectory) {
        // What it inherited is kept for the tasks that it made before.
        _ = self.value(of: id, task, in: tasks)
        // In this order: a task that is made in between, and perhaps in a tick before the change, counts as made before it.
        let newest = tasks.newest
        let now = tasks.now
        var record = records[id] ?? Record(startTime: task.startTime, changes: [])
        if record.startTime != task.startTime { record = Record(startTime: task.startTime, changes: []) }
        // Nothing was made since the last change that could have inherited it.
        if let newest, record.changes.last?.newest == newest { record.changes.removeLast() }
        record.changes.append(Change(since: now, newest: newest, value: value))
        if record.changes.count > Self.remembered { record.changes.removeFirst() }
        records[id] = record
        prune(tasks)
    }

    /// What a task has: given to itself, or inherited. What is inherited is kept, for its maker may end.
    mutating func value(of id: Int32, _ task: TaskDescription, in tasks: some TaskDirectory) -> Value? {
        guard !records.isEmpty else { return nil }
        let record = records[id].flatMap { $0.startTime == task.startTime ? $0 : nil }
        if let last = record?.changes.last { return last.value }
        guard
            let change = inherited(by: id, task, in: tasks, depth: 0)
                ?? inherited(by: id, task, from: task.group) ?? inherited(by: id, task, from: task.session)
        else { return nil }
        let own = Change(since: task.startTime, newest: nil, value: change.value)
        records[id] = Record(startTime: task.startTime, changes: [own])
        prune(tasks)
        return change.value
    }

    private func inherited(by id: Int32, _ task: TaskDescription, in tasks: some TaskDirectory, depth: Int) -> Change? {
        // A thread is taken to be made by the first of its process.
        let maker = task.process == id ? task.parent : task.process
        guard maker > 0, depth < 64, let description = tasks.task(maker) else { return nil }
        if let record = records[maker], record.startTime == description.startTime,
            let change = record.changes.last(where: { $0.isBefore(id, task) })
        {
            return change
        }
        return inherited(by: maker, description, in: tasks, depth: depth + 1)
    }

    /// What a task whose maker has ended, so that another adopted it, has from the leader of its process group or session.
    /// That one may have ended, too: its number goes to no other task as long as the group has a member.
    private func inherited(by id: Int32, _ task: TaskDescription, from leader: Int32) -> Change? {
        guard leader > 0, leader != task.process, let record = records[leader] else { return nil }
        return record.changes.last { $0.isBefore(id, task) }
    }

    /// Puts another value in the place of the last that a task was given or inherited, at the same time.
    mutating func replace(_ value: Value, of id: Int32) {
        guard let last = records[id]?.changes.indices.last else { return }
        records[id]?.changes[last].value = value
    }

    /// Forgets tasks that have ended, when there are twice as many as after the last time.
    private mutating func prune(_ tasks: some TaskDirectory) {
        guard records.count > limit else { return }
        records = records.filter { tasks.task($0.key)?.startTime == $0.value.startTime }
        limit = max(1024, records.count * 2)
    }

    /// Changes every value there is, as rebinding does.
    mutating func update(_ body: (inout Value) -> Void) {
        var place = records.values.startIndex
        while place != records.values.endIndex {
            for index in records.values[place].changes.indices {
                guard var value = records.values[place].changes[index].value else { continue }
                body(&value)
                records.values[place].changes[index].value = value
            }
            records.values.formIndex(after: &place)
        }
    }
}
