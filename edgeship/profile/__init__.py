"""Target profiles: `targets/*.yaml` -> TargetProfile, with errors that name line and key path."""

from edgeship.profile.loader import (
    LoadedProfile,
    check_profile,
    find_profile,
    list_profiles,
    load_profile,
    load_with_origins,
)
from edgeship.profile.schema import TargetProfile

__all__ = [
    "LoadedProfile",
    "TargetProfile",
    "check_profile",
    "find_profile",
    "list_profiles",
    "load_profile",
    "load_with_origins",
]
