"""What a cluster file needs that is read by Ray's autoscaler without `ray up`."""

from __future__ import annotations

# What Ray's autoscaler wants to find in a file, and `ray up` fills in.
FILLED_IN = {
    "auth": {}, "file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False,
    "rsync_exclude": [], "rsync_filter": [], "initialization_commands": [], "setup_commands": [],
    "head_setup_commands": [], "worker_setup_commands": [], "head_start_ray_commands": [],
    "worker_start_ray_commands": [], "upscaling_speed": 1.0, "idle_timeout_minutes": 5, "docker": {},
}  # fmt: skip
