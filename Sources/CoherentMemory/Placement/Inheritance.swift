/// What tasks were given and hand down to the tasks that they make, as fork(2) copies it: each task has what its maker
/// had when it began.
struct Inheritance<Value: Sendable>: Sendable {
    /// What a task has from a moment on; nil for nothing.
    private typealias Change = (since: UInt64, value: Value?)

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
        let now = tasks.now
        keep(self.value(of: id, task, in: tasks), ofTasksMadeBy: id, task, at: now, in: tasks)
        var record = records[id] ?? Record(startTime: task.startTime, changes: [])
        if record.startTime != task.startTime { record = Record(startTime: task.startTime, changes: []) }
        record.changes.append((now, value))
        if record.changes.count > Self.remembered { record.changes.removeFirst() }
        records[id] = record
        prune(tasks)
    }

    /// Has the tasks that a task has made in the present tick of the clock keep what they inherited: their start times do not tell them
    /// from tasks that it makes after the change.
    private mutating func keep(
        _ value: Value?, ofTasksMadeBy id: Int32, _ task: TaskDescription, at now: UInt64, in tasks: some TaskDirectory
    ) {
        // A thread is taken to be made by the first of its process.
        guard task.process == id else { return }
        for made in tasks.tasks(madeBy: id) {
            guard let description = tasks.task(made), description.startTime >= now,
                records[made]?.startTime != description.startTime
            else { continue }
            records[made] = Record(startTime: description.startTime, changes: [(description.startTime, value)])
        }
    }

    /// What a task has: given to itself, or inherited. What is inherited is kept, for its maker may end.
    mutating func value(of id: Int32, _ task: TaskDescription, in tasks: some TaskDirectory) -> Value? {
        guard !records.isEmpty else { return nil }
        let record = records[id].flatMap { $0.startTime == task.startTime ? $0 : nil }
        if let last = record?.changes.last { return last.value }
        guard
            let change = inherited(by: id, task, in: tasks, depth: 0)
                ?? inherited(by: task, from: task.group) ?? inherited(by: task, from: task.session)
        else { return nil }
        records[id] = Record(startTime: task.startTime, changes: [(task.startTime, change.value)])
        prune(tasks)
        return change.value
    }

    private func inherited(by id: Int32, _ task: TaskDescription, in tasks: some TaskDirectory, depth: Int) -> Change? {
        // A thread is taken to be made by the first of its process.
        let maker = task.process == id ? task.parent : task.process
        guard maker > 0, depth < 64, let description = tasks.task(maker) else { return nil }
        if let record = records[maker], record.startTime == description.startTime,
            let change = record.changes.last(where: { $0.since <= task.startTime })
        {
            return change
        }
        return inherited(by: maker, description, in: tasks, depth: depth + 1)
    }

    /// What a task whose maker has ended, so that another adopted it, has from the leader of its process group or session.
    /// That one may have ended, too: its number goes to no other task as long as the group has a member.
    private func inherited(by task: TaskDescription, from leader: Int32) -> Change? {
        guard leader > 0, leader != task.process, let record = records[leader] else { return nil }
        return record.changes.last { $0.since <= task.startTime }
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
