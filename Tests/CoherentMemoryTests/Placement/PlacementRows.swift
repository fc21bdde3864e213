/// What is expected of the machine, row by row, written by hand from the texts named; ``PlacementScene`` says how to read it.
///
/// * NMP: Documentation/admin-guide/mm/numa_memory_policy.rst
/// * MPOL: mm/mempolicy.c; ALLOC: mm/page_alloc.c of Linux 6
/// * CG2: Documentation/admin-guide/cgroup-v2.rst, cpuset
/// * ABI: the isolation modes of a coherent node, as the project's ABI describes them
enum PlacementRows {
    /// NMP, "Components of Memory Policies": each mode on an ordinary memory-only node.
    static let modes = """
        two n -> 0000
        two n full 0 -> 1111
        two n full 0-1 -> mmmm
        two n room 0=2 -> 0011
        two n full 1 room 0=1 -> 0mmm
        two n buffer default -> 0000
        two n buffer local -> 0000
        two n buffer local full 0 -> 1111
        two n buffer prefer -> 0000
        two n buffer prefer full 0 -> 1111
        two n buffer bind:0 -> 0000
        two n buffer bind:0 full 0 -> mmmm
        two n buffer bind:0 room 0=1 -> 0mmm
        two n buffer bind:1 -> 1111
        two n buffer bind:1 full 0 -> 1111
        two n buffer bind:1 full 1 -> mmmm
        two n buffer bind:1 room 1=2 -> 11mm
        two n buffer bind:0-1 -> 0000
        two n buffer bind:0-1 full 0 -> 1111
        two n buffer bind:0-1 room 0=3 -> 0001
        two n buffer bind:0-1 full 0-1 -> mmmm
        two n buffer prefer:0 -> 0000
        two n buffer prefer:0 full 0 -> 1111
        two n buffer prefer:1 -> 1111
        two n buffer prefer:1 full 1 -> 0000
        two n buffer prefer:1 room 1=3 -> 1110
        two n buffer prefer:1 full 0-1 -> mmmm
        two n buffer many:0 full 0 -> 1111
        two n buffer many:1 -> 1111
        two n buffer many:1 full 1 -> 0000
        two n buffer many:1 room 1=1 -> 1000
        two n buffer many:0-1 -> 0000
        two n buffer many:0-1 full 0 -> 1111
        two n buffer many:0-1 full 0-1 -> mmmm
        two n buffer interleave -> 0101
        two n buffer interleave:0-1 -> 0101
        two n buffer interleave:0-1 full 0 -> 1111
        two n buffer interleave:0-1 full 1 -> 0000
        two n buffer interleave:0-1 room 1=1 -> 0100
        two n buffer interleave:0-1 full 0-1 -> mmmm
        two n buffer interleave:1 -> 1111
        two n buffer interleave:1 full 1 -> 0000
        two n buffer weighted:0-1 -> 0101
        two n buffer weighted:0-1 weights 0=2,1=1 -> 0010
        two n buffer weighted:0-1 weights 0=1,1=3 -> 0111
        two n buffer weighted:0-1 weights 0=255,1=255 -> 0000
        two n buffer weighted:0-1 weights 0=2,1=2 full 0 -> 1111
        two n buffer weighted:0-1 weights 0=2,1=2 full 1 -> 0000
        two n buffer weighted:1 weights 0=9,1=2 -> 1111
        """

    /// ABI: exclusive is in no other node's fallback list; a page lands there only when the node was named.
    static let exclusive = """
        two e -> 0000
        two e full 0 -> mmmm
        two e room 0=2 -> 00mm
        two e buffer local full 0 -> mmmm
        two e buffer bind:0 full 0 -> mmmm
        two e buffer bind:1 -> 1111
        two e buffer bind:1 full 0 -> 1111
        two e buffer bind:1 full 1 -> mmmm
        two e buffer bind:0-1 -> 0000
        two e buffer bind:0-1 full 0 -> 1111
        two e buffer prefer:0 full 0 -> mmmm
        two e buffer prefer:1 -> 1111
        two e buffer prefer:1 full 1 -> 0000
        two e buffer prefer:1 full 0-1 -> mmmm
        two e buffer many:0 full 0 -> mmmm
        two e buffer many:1 -> 1111
        two e buffer many:1 full 1 -> 0000
        two e buffer many:0-1 -> 0000
        two e buffer many:0-1 full 0 -> 1111
        two e buffer interleave:0 full 0 -> mmmm
        two e buffer interleave:0-1 -> 0101
        two e buffer interleave:0-1 full 0 -> 1111
        two e buffer interleave:0-1 full 1 -> 0000
        two e buffer interleave:1 -> 1111
        two e buffer interleave:1 full 1 -> 0000
        two e buffer weighted:0-1 weights 0=1,1=2 -> 0110
        two e buffer weighted:0 full 0 -> mmmm
        two e buffer weighted:1 full 1 -> 0000
        two e device 1 -> 1111
        two e device 1 full 1 -> mmmm
        two n device 1 -> 1111
        two n device 1 full 1 -> mmmm
        two e device 1 mems 0 -> 1111
        two e device 1 task bind:0 -> 1111
        """

    /// NMP, "Scope of Memory Policies": the buffer's policy before the task's before the system's.
    static let precedence = """
        two e task default -> 0000
        two e task bind:1 -> 1111
        two e task bind:1 full 1 -> mmmm
        two e task prefer:1 -> 1111
        two e task prefer:1 full 1 -> 0000
        two e task local full 0 -> mmmm
        two e task interleave:0-1 -> 0101
        two e task many:1 full 1 -> 0000
        two e task weighted:0-1 weights 0=2,1=1 -> 0010
        two e task bind:1 buffer default -> 1111
        two e task bind:1 buffer local -> 0000
        two e task bind:1 buffer bind:0 -> 0000
        two e task bind:1 buffer bind:0 full 0 -> mmmm
        two e task bind:0 buffer prefer:1 -> 1111
        two e task interleave:0-1 buffer bind:1 -> 1111
        two e task interleave:0-1 buffer prefer -> 0000
        two e task bind:0 shared interleave:0-1 -> 0101
        two n task bind:0 full 0 -> mmmm
        two n task prefer:0 full 0 -> 1111
        """

    /// NMP, "Memory Policies and cpusets"; CG2, cpuset.mems; ALLOC, prepare_alloc_pages(): a cpuset always wins.
    static let cpusets = """
        two n mems 0 -> 0000
        two n mems 0 full 0 -> mmmm
        two n mems 1 -> 1111
        two n mems 1 full 1 -> mmmm
        two n mems 0-1 full 0 -> 1111
        two n mems 0 then - full 0 -> 1111
        two e mems 1 -> mmmm
        two e mems 0-1 -> 0000
        two e mems 0-1 full 0 -> mmmm
        two n mems 0 buffer bind:1 -> 0000
        two e mems 0 buffer bind:1 -> 0000
        two e mems 0 buffer bind:1 full 0 -> mmmm
        two e mems 0 buffer bind:0-1 -> 0000
        two e mems 0 buffer bind:0-1 full 0 -> mmmm
        two e mems 1 buffer bind:0-1 -> 1111
        two e mems 1 buffer bind:1 full 1 -> mmmm
        two e mems 1 buffer bind:0 -> mmmm
        two n mems 1 buffer bind:0 -> 1111
        two e mems 0 buffer prefer:1 -> 0000
        two e mems 0 buffer prefer:1 full 0 -> mmmm
        two n mems 1 buffer prefer:0 -> 1111
        two e mems 1 buffer prefer:0 -> mmmm
        two e mems 1 buffer prefer:1 -> 1111
        two e mems 1 buffer prefer:1 full 1 -> mmmm
        two e mems 0 buffer many:1 -> 0000
        two e mems 1 buffer many:0-1 -> 1111
        two e mems 1 buffer many:1 full 1 -> mmmm
        two e mems 0 buffer interleave:0-1 -> 0000
        two e mems 1 buffer interleave:0-1 -> 1111
        two e mems 1 buffer interleave:0 -> mmmm
        two n mems 1 buffer interleave:0 -> 1111
        two e mems 0 buffer weighted:1 -> 0000
        two e mems 0 task bind:0 -> 0000
        two e mems 0 task bind:1 -> set EINVAL
        two e mems 0 task prefer:1 -> set EINVAL
        two e mems 0 task many:1 -> set EINVAL
        two e mems 0 task interleave:1 -> set EINVAL
        two e mems 0 task weighted:1 -> set EINVAL
        two e mems 0 task bind=static:1 -> set EINVAL
        two e mems 0 task bind:0-1 -> 0000
        two e mems 0 task bind:0-1 full 0 -> mmmm
        two e mems 1 task interleave:0-1 -> 1111
        two e mems 0 task bind=relative:1 -> 0000
        two e mems 1 task bind=relative:0 -> 1111
        two e mems 0 task bind:0 buffer bind:1 -> 0000
        four ee mems 1 -> 1111
        four ee mems 1 full 1 -> mmmm
        four ee mems 2-3 -> mmmm
        four nn mems 2-3 -> 2222
        four nn mems 2-3 cpu 1 -> 3333
        four nn mems 2-3 full 2 -> 3333
        four nn mems 1-3 full 1 -> 2222
        four en mems 1-3 full 1 -> 3333
        four ee mems 0,2 buffer bind:2-3 -> 2222
        four ee mems 0,3 buffer bind:2-3 -> 3333
        four ee mems 0,3 buffer bind:2-3 full 3 -> mmmm
        four ee mems 0-1 buffer bind:2-3 -> 0000
        four ee mems 0-1 buffer bind:2-3 cpu 1 -> 1111
        four ee mems 0-1 buffer prefer:3 -> 1111
        four ee mems 0-1 buffer prefer:2 cpu 1 -> 0000
        four ee mems 1,3 buffer prefer:2 -> 1111
        four ee mems 1,3 buffer prefer:2 full 1 -> mmmm
        four nn mems 1,3 buffer prefer:2 full 1 -> 3333
        four ee mems 0-1 buffer interleave:0-3 -> 0101
        four ee mems 1 buffer interleave:0-3 -> 1111
        four ee mems 2 buffer interleave:0-3 -> 2222
        four ee mems 0,3 buffer interleave:0-3 -> 0003
        four ee mems 3 buffer interleave:0-2 -> mmmm
        four nn mems 3 buffer interleave:0-2 -> 3333
        four ee mems 0-1 buffer many:2-3 -> 0000
        four ee mems 0-1 buffer many:2-3 cpu 1 -> 1111
        four ee mems 0,3 buffer many:2-3 -> 3333
        four ee mems 0,3 buffer many:2-3 full 3 -> 0000
        four ee mems 1,3 buffer many:2-3 full 3 -> 1111
        """

    /// NMP, MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES.
    static let flags = """
        two e buffer bind=static:1 -> 1111
        two e mems 0 buffer bind=static:1 -> 0000
        two n mems 0-1 buffer interleave=static:0-1 -> 0101
        four ee mems 0,2 buffer interleave=static:0-3 -> 0202
        four ee mems 0-1 buffer interleave=static:2-3 -> 0000
        four ee mems 0-1 buffer interleave=static:2-3 cpu 1 -> 1111
        four ee mems 0-1 buffer bind=static:2-3 cpu 1 -> 1111
        four ee mems 0,3 buffer prefer=static:3 -> 3333
        four ee mems 0,2 buffer weighted=static:0,2-3 weights 0=1,2=2 -> 0220
        four ee mems 0,3 buffer many=static:2-3 full 3 -> 0000
        four ee buffer bind=relative:2 -> 2222
        four ee mems 2-3 buffer bind=relative:0 -> 2222
        four ee mems 2-3 buffer bind=relative:1 -> 3333
        four ee mems 2-3 buffer bind=relative:2 -> 2222
        four ee mems 2-3 buffer bind=relative:3 -> 3333
        four ee mems 2-3 buffer bind=relative:1,3 -> 3333
        four ee mems 1-3 buffer interleave=relative:0-2 -> 1231
        four ee mems 0,2-3 buffer interleave=relative:3 -> 0000
        four ee mems 0,2-3 buffer interleave=relative:1-2 -> 2323
        four ee mems 1,3 buffer interleave=relative:0-3 -> 1313
        four ee mems 1,3 buffer prefer=relative:1 -> 3333
        four ee mems 1,3 buffer prefer=relative:1 full 3 -> 1111
        four ee mems 2 buffer prefer=relative:0 -> 2222
        four ee mems 1-2 buffer weighted=relative:0-1 weights 1=1,2=2 -> 1221
        four ee mems 2-3 buffer many=relative:0 full 2 -> mmmm
        four nn mems 2-3 buffer many=relative:0 full 2 -> 3333
        two n mems 0 task bind:0 then 1 -> 1111
        two e mems 0 task bind:0 then 1 -> 1111
        two n mems 0-1 task bind:1 then 0 -> 0000
        two n mems 0-1 task bind=static:1 then 0 -> 0000
        two n mems 0-1 task bind=static:1 then 0 then 0-1 -> 1111
        two n mems 0-1 task bind=static:0-1 then 1 -> 1111
        two n mems 0-1 task interleave:0-1 then 1 -> 1111
        two n mems 0-1 task interleave=static:0-1 then 0 -> 0000
        two n mems 0-1 task interleave=relative:0-1 then 1 -> 1111
        two n mems 0-1 task interleave=relative:0-1 then 1 then 0-1 -> 0101
        two n mems 0-1 task bind=relative:1 then 1 -> 1111
        two n mems 0-1 task bind=relative:1 then 0 -> 0000
        two e mems 0-1 task bind=static:0 then 1 -> mmmm
        two n mems 0 task bind:0 then - -> 0000
        two n mems 1 task bind:1 then - -> 0000
        four nn mems 0-1 task interleave:0-1 then 2-3 -> 2323
        four ee mems 0-1 task interleave:0-1 then 2-3 -> 2323
        four ee mems 0-1 task bind:1 then 2-3 -> 3333
        four ee mems 0-1 task bind:0-1 then 3 -> 3333
        four ee mems 0-3 task interleave:1,3 then 0-1 -> 1111
        four ee mems 0-3 task interleave:0,3 then 0-1 -> 0101
        four ee mems 0-3 task interleave:1,3 then 0-1 then 0-3 -> 1111
        four ee mems 0-3 task bind:3 then 0-1 then 0-3 -> 1111
        four ee mems 0-2 task interleave:0-2 then 1-3 -> 1231
        four ee mems 0-2 task interleave:0-2 then 2-3 -> 2323
        four ee mems 0-2 task interleave=static:0-2 then 2-3 -> 2222
        four ee mems 0-1 task interleave=static:0-1 then 2-3 -> mmmm
        four nn mems 0-1 task interleave=static:0-1 then 2-3 -> 2222
        four nn mems 0-1 task interleave=static:0-1 then 2-3 cpu 1 -> 3333
        four ee mems 0-1 task interleave=relative:0-1 then 2-3 -> 2323
        four ee mems 0-1 task interleave=relative:0-1 then 1-3 -> 1212
        four ee mems 0-1 task interleave=relative:0-1 then 0 -> 0000
        four ee mems 0-1 task weighted:0-1 weights 2=2,3=1 then 2-3 -> 2232
        four nn mems 0-3 task prefer:3 then 0-1 -> 1111
        four ee mems 0-3 task prefer:2 then 0-1 cpu 1 -> 0000
        four ee mems 0-3 task many:2-3 then 0-1 -> 0000
        four ee mems 0-3 task many:2-3 then 0-1 cpu 1 -> 1111
        """

    /// MPOL, mpol_rebind_preferred(): nodes that are only preferred stay what they are, and count where they are allowed.
    /// NMP speaks of a remapping, which Linux has not done for them since 5.14.
    static let preferred = """
        four ee mems 0-3 task many:2-3 then 0-1 then 0-3 -> 2222
        four nn mems 0-1 task many:0 then 2-3 cpu 1 -> 3333
        four ee mems 0-1 task many:0-1 then 1,3 -> 1111
        four ee mems 0-3 task prefer:2 then 0-1 then 0-3 -> 2222
        four ee mems 0-1 task prefer:1 then 0 then 0-1 -> 1111
        """

    /// ALLOC, build_zonelists(): by distance from the preferred node; NMP, bind: the nearest to where the touch is.
    static let distances = """
        four nn -> 0000
        four nn cpu 1 -> 1111
        four nn full 0 -> 1111
        four nn cpu 1 full 1 -> 0000
        four nn full 0-1 -> 2222
        four nn cpu 1 full 0-1 -> 3333
        four nn full 0-2 -> 3333
        four nn cpu 1 full 0-1,3 -> 2222
        four ee full 0-1 -> mmmm
        four en full 0-1 -> 3333
        four ne cpu 1 full 0-1 -> 2222
        four nn buffer bind:2-3 -> 2222
        four nn buffer bind:2-3 cpu 1 -> 3333
        four ee buffer bind:2-3 -> 2222
        four ee buffer bind:2-3 cpu 1 -> 3333
        four ee buffer bind:2-3 full 2 -> 3333
        four ee buffer bind:2-3 room 2=1 -> 2333
        four ee buffer bind:2-3 full 2-3 -> mmmm
        four ee buffer bind:1-2 -> 1111
        four ee buffer bind:1-2 full 1 -> 2222
        four ee buffer bind:0,3 cpu 1 -> 0000
        four ee buffer bind:0,3 cpu 1 full 0 -> 3333
        four ee buffer prefer:2 full 2 -> 0000
        four ee buffer prefer:2 full 0,2 -> 1111
        four ee buffer prefer:2 full 0-2 -> mmmm
        four nn buffer prefer:2 full 0-2 -> 3333
        four ee buffer prefer:3 -> 3333
        four ee buffer prefer:3 full 3 -> 1111
        four ee buffer prefer:3 full 1,3 -> 0000
        four nn buffer prefer:3 full 0-1,3 -> 2222
        four en buffer prefer:2 full 0-2 -> 3333
        four ne buffer prefer:2 full 0-2 -> mmmm
        four ee buffer many:2-3 -> 2222
        four ee buffer many:2-3 cpu 1 -> 3333
        four ee buffer many:2-3 full 2 -> 3333
        four ee buffer many:2-3 full 2-3 -> 0000
        four ee buffer many:2-3 full 2-3 cpu 1 -> 1111
        four ee buffer many:2-3 full 0,2-3 -> 1111
        four ee buffer many:2-3 full 0-3 -> mmmm
        four ee buffer many:1,3 -> 1111
        four ee buffer many:1,3 full 1 -> 3333
        four ee buffer many:1,3 full 1,3 -> 0000
        four ee buffer many:1,3 full 0-1,3 -> mmmm
        four nn buffer many:1,3 full 0-1,3 -> 2222
        four ee buffer interleave:0-3 -> 0123
        four ee buffer interleave:0-3 cpu 1 -> 0123
        four ee buffer interleave:0-3 full 2 -> 0103
        four ee buffer interleave:0-3 full 3 -> 0121
        four ee buffer interleave:0-3 full 0 -> 1123
        four ee buffer interleave:0-3 full 1 -> 0023
        four ee buffer interleave:0-3 full 0-1 -> 2323
        four ee buffer interleave:2-3 full 2 -> 0303
        four ee buffer interleave:2-3 full 2-3 -> 0101
        four ee buffer interleave:1,3 -> 1313
        four ee buffer interleave:1-3 -> 1231
        four ee buffer weighted:0,2 weights 0=2,2=1 -> 0020
        four ee buffer weighted:2-3 weights 2=1,3=2 -> 2332
        four ee buffer weighted:2-3 weights 2=1,3=2 full 3 -> 2112
        four ee buffer weighted:0-3 -> 0123
        """

    /// ABI: restricted, and driver; CG2: mems that cannot be granted are as none.
    static let restricted = """
        two r -> 0000
        two r full 0 -> mmmm
        two r open 1 full 0 -> mmmm
        two r member 1 full 0 -> mmmm
        two r buffer bind:0 -> 0000
        two r buffer bind:1 -> set EPERM
        two r buffer prefer:1 -> set EPERM
        two r buffer many:0-1 -> set EPERM
        two r buffer interleave:0-1 -> set EPERM
        two r buffer weighted:0-1 -> set EPERM
        two r task bind:1 -> set EPERM
        two r task prefer:1 -> set EPERM
        two r task interleave:0-1 -> set EPERM
        two r open 1 buffer bind:1 -> 1111
        two r member 1 buffer bind:1 -> 1111
        two r open 1 task bind:1 -> 1111
        two r member 1 task prefer:1 -> 1111
        two r member 1 task prefer:1 full 1 -> 0000
        two r open 1 buffer interleave:0-1 -> 0101
        two r open 1 buffer bind:1 full 1 -> mmmm
        two r open 1 buffer bind:0-1 full 0 -> 1111
        two r shared bind:1 -> pppp
        two r shared prefer:1 -> 0000
        two r shared interleave:0-1 -> 0000
        two r shared many:1 -> 0000
        two r shared bind:0-1 -> 0000
        two r open 1 shared bind:1 -> 1111
        two r member 1 shared bind:1 -> 1111
        two r open 1 mems 0 buffer bind:1 -> 0000
        two r mems 0 shared bind:1 -> 0000
        two r mems 1 -> mmmm
        two r mems 0 task bind=relative:1 -> 0000
        two r mems 1 task bind=relative:0 -> set EPERM
        two r open 1 mems 1 task bind=relative:0 -> 1111
        four re buffer bind:3 -> 3333
        four re buffer bind:2-3 -> set EPERM
        four rr open 2 buffer bind:2 -> 2222
        four rr open 2 buffer bind:3 -> set EPERM
        four rr open 2-3 buffer interleave:2-3 -> 2323
        four rr open 3 shared bind:2-3 -> 3333
        four rr open 2 shared interleave:2-3 -> 2121
        four rr open 2 member 3 shared bind:2-3 cpu 1 -> 3333
        two d -> 0000
        two d full 0 -> mmmm
        two d buffer bind:1 -> set EINVAL
        two d buffer prefer:1 -> set EINVAL
        two d buffer interleave:0-1 -> set EINVAL
        two d buffer interleave -> 0000
        two d task bind:1 -> set EINVAL
        two d shared prefer:1 -> 0000
        two d shared interleave:0-1 -> 0000
        two d open 1 -> 0000
        two d device 1 -> 1111
        two d device 1 mems 0 -> 1111
        two d mems 1 -> 0000
        four dn mems 2-3 -> 3333
        four de mems 2-3 buffer bind:3 -> 3333
        four dn full 0-1 -> 3333
        """

    static var all: [String] {
        [modes, exclusive, precedence, cpusets, flags, preferred, distances, restricted].flatMap {
            $0.split(separator: "\n").map(String.init)
        }
    }
}
