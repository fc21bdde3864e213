/// What the pages of a buffer are made of: where they have their frames, and where their bytes are.
enum BufferStorage {
    /// Frames of any node, huge pages according to the mode. The bytes are in the storage of the page table.
    case paged(HugeMode)
    /// Reserved huge pages only; the bytes are in the storage of the page table.
    case pooled
    /// One run of a node's contiguous share; the bytes are in the storage of the page table. Neither the pages nor the
    /// size change. The mode applies when it is paged again.
    case contiguous(FrameRun, HugeMode)
    /// Frames as if it were paged; each page within the size has a frame or is withheld. The bytes are in a file of the
    /// buffer's own.
    case file(BackingFile, HugeMode)
    /// Frames of any node, or reserved huge pages only. The bytes are in the memory of the program whose address space it is, which the host's
    /// kernel has.
    case anonymous(isPooled: Bool)
}

extension Buffer.State {
    /// Whether pages are huge from now on.
    var huge: HugeMode {
        get {
            switch storage {
            case .paged(let mode), .contiguous(_, let mode), .file(_, let mode): mode
            case .pooled: .pool
            case .anonymous(let isPooled): isPooled ? .pool : .never
            }
        }
        set {
            switch storage {
            case .contiguous(let run, _): storage = .contiguous(run, newValue)
            case .file(let file, _): storage = .file(file, newValue)
            case .paged, .pooled: storage = newValue == .pool ? .pooled : .paged(newValue)
            case .anonymous: storage = .anonymous(isPooled: newValue == .pool)
            }
        }
    }

    /// Whether the bytes are in the memory of a program.
    var isAnonymous: Bool { if case .anonymous = storage { true } else { false } }

    /// Whether the bytes are in the storage of the page table.
    var hasStorage: Bool { backing == nil && !isAnonymous }

    /// The frames of all its pages, while it is contiguous.
    var contiguous: FrameRun? {
        get { if case .contiguous(let run, _) = storage { run } else { nil } }
        set {
            if let newValue {
                storage = .contiguous(newValue, huge)
            } else if case .contiguous(_, let mode) = storage {
                storage = .paged(mode)
            }
        }
    }

    /// The file that has the bytes, while it is direct.
    var backing: BackingFile? {
        get { if case .file(let file, _) = storage { file } else { nil } }
        set {
            if let newValue {
                storage = .file(newValue, huge)
            } else if case .file(_, let mode) = storage {
                storage = .paged(mode)
            }
        }
    }
}
