/* What the import of a topology needs of libhwloc, without unions and macros. */
#ifndef CHWLOC_H
#define CHWLOC_H

#include <hwloc.h>
#include <stdint.h>
#include <stdlib.h>

/* An empty topology that keeps what an import looks at: the memory-side caches, and the devices that are told of. */
static inline hwloc_topology_t chwloc_make(void) {
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) < 0)
        return NULL;
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_MEMCACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    return topology;
}

static inline hwloc_obj_t chwloc_node(hwloc_topology_t topology, unsigned place) {
    return hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, place);
}

static inline uint64_t chwloc_node_memory(hwloc_obj_t node) { return node->attr->numanode.local_memory; }

static inline const char *chwloc_info(hwloc_obj_t object, const char *name) {
    return hwloc_obj_get_info_by_name(object, name);
}

/* The bits of a set as "0-3,8", to be freed; NULL for none. */
static inline char *chwloc_list(hwloc_const_bitmap_t set) {
    char *text = NULL;
    if (!set || hwloc_bitmap_list_asprintf(&text, set) < 0)
        return NULL;
    return text;
}

/* The memory-side cache of a node that is `place` caches away from it; NULL if there is none. */
static inline hwloc_obj_t chwloc_memory_side_cache(hwloc_obj_t node, unsigned place) {
    hwloc_obj_t object = node->parent;
    while (object && object->type == HWLOC_OBJ_MEMCACHE && place-- > 0)
        object = object->parent;
    return object && object->type == HWLOC_OBJ_MEMCACHE ? object : NULL;
}

static inline uint64_t chwloc_cache_size(hwloc_obj_t cache) { return cache->attr->cache.size; }
static inline unsigned chwloc_cache_line(hwloc_obj_t cache) { return cache->attr->cache.linesize; }
static inline int chwloc_cache_ways(hwloc_obj_t cache) { return cache->attr->cache.associativity; }

/* The value of a memory attribute of a node for the initiator with the best one; 0 if there is none. */
static inline uint64_t chwloc_best(hwloc_topology_t topology, hwloc_memattr_id_t attribute, hwloc_obj_t node) {
    struct hwloc_location best;
    hwloc_uint64_t value = 0;
    if (hwloc_memattr_get_best_initiator(topology, attribute, node, 0, &best, &value) < 0)
        return 0;
    return value;
}

/* The number of initiators for which a node has values of a memory attribute. */
static inline unsigned chwloc_initiators(hwloc_topology_t topology, hwloc_memattr_id_t attribute, hwloc_obj_t node) {
    unsigned count = 0;
    if (hwloc_memattr_get_initiators(topology, attribute, node, 0, &count, NULL, NULL) < 0)
        return 0;
    return count;
}

/* The matrix of latencies between NUMA nodes, to be released; NULL if there is none. */
static inline struct hwloc_distances_s *chwloc_distances(hwloc_topology_t topology) {
    struct hwloc_distances_s *distances = NULL;
    unsigned count = 1;
    if (hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &count, &distances,
                                    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) < 0 || count == 0)
        return NULL;
    return distances;
}

/* The number of matrices between any objects. */
static inline unsigned chwloc_distances_count(hwloc_topology_t topology) {
    unsigned count = 0;
    if (hwloc_distances_get(topology, &count, NULL, 0, 0) < 0)
        return 0;
    return count;
}

static inline int chwloc_count(hwloc_topology_t topology, hwloc_obj_type_t type) {
    int count = hwloc_get_nbobjs_by_type(topology, type);
    return count > 0 ? count : 0;
}

/* A device of the operating system that is a GPU or another coprocessor; `place` counts all devices. */
static inline hwloc_obj_t chwloc_device(hwloc_topology_t topology, unsigned place) {
    return hwloc_get_obj_by_type(topology, HWLOC_OBJ_OS_DEVICE, place);
}

static inline int chwloc_is_accelerator(hwloc_obj_t device) {
    return device->attr->osdev.type == HWLOC_OBJ_OSDEV_GPU || device->attr->osdev.type == HWLOC_OBJ_OSDEV_COPROC;
}

#endif
