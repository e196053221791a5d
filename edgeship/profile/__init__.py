"""Target profiles: `targets/*.yaml` -> TargetProfile, with errors that name line and key path."""

from edgeship.profile.facts import from_facts
from edgeship.profile.loader import (
    LoadedProfile,
    check_profile,
    find_profile,
    list_profiles,
    load_profile,
    load_with_origins,
)
from edgeship.profile.schema import TargetProfile
from edgeship.profile.text import as_text

__all__ = [
    "LoadedProfile",
    "TargetProfile",
    "as_text",
    "check_profile",
    "find_profile",
    "from_facts",
    "list_profiles",
    "load_profile",
    "load_with_origins",
]
