"""Target profiles: `targets/*.yaml` -> TargetProfile, with errors that name line and key path."""

from typing import TYPE_CHECKING

from edgeship import lazy

if TYPE_CHECKING:
    from edgeship.profile.facts import from_facts
    from edgeship.profile.loader import (
        LoadedProfile,
        check_profile,
        list_profiles,
        load_profile,
        load_with_origins,
    )
    from edgeship.profile.names import find_profile
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

__getattr__ = lazy.names(
    __name__,
    {
        "TargetProfile": "edgeship.profile.schema",
        "as_text": "edgeship.profile.text",
        "find_profile": "edgeship.profile.names",
        "from_facts": "edgeship.profile.facts",
        **dict.fromkeys(
            (
                "LoadedProfile",
                "check_profile",
                "list_profiles",
                "load_profile",
                "load_with_origins",
            ),
            "edgeship.profile.loader",
        ),
    },
)
