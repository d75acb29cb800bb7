"""Resources as transactions that a FHIR server takes, each of few entries, so that nothing stands there twice.

Each resource is found on the server by its identifier. A report's is created where it is not there yet: what a
physician has amended on the server since stays as it is. A Flag that is over, and our codes, take the place of what
stands there.

Servers bound a transaction that searches before it writes. Medplum takes eight entries at most, so a report takes two
transactions. In the second one, the addresses that the server gave in the first one stand in the references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from .fhir_codes import Json
from .fhir_parts import url

MOST_ENTRIES = 8
"""Of a transaction. Medplum's router refuses a ninth one, where one of them is conditional."""
LOCATION = re.compile(r"(?:^|/)(?P<address>[A-Za-z]{1,64}/[A-Za-z0-9.-]{1,64})(?:/_history/[^/]+)?$")


def batches(resources: Sequence[Json]) -> Iterator[Sequence[Json]]:
    """Yield the resources in parts, one for each transaction, in order: a resource refers to those before it alone."""
    for start in range(0, len(resources), MOST_ENTRIES):
        yield resources[start : start + MOST_ENTRIES]


def transaction(resources: Sequence[Json], taken: Mapping[str, str] | None = None) -> Json:
    """Return the Bundle to post.

    Args:
        resources: of one report, alert or publication.
        taken: addresses on the server (`Device/17`) by the addresses in the Bundles (`urn:uuid:…`), of earlier parts.
    """
    entries = [_entry(resource, taken or {}) for resource in resources]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def addresses(resources: Sequence[Json], locations: Sequence[str]) -> dict[str, str]:
    """Return where the server keeps the resources, as `transaction` takes it.

    A server need not say where a resource is that was there. Then a search stands in its place: R4 lets a reference of
    a transaction be one.
    """
    return {
        url(resource["id"]): _address(location) or f"{resource['resourceType']}?{_search(resource)}"
        for resource, location in zip(resources, locations, strict=True)
    }


def _address(location: str) -> str | None:
    found = LOCATION.search(location)
    return found["address"] if found else None


def _entry(resource: Json, taken: Mapping[str, str]) -> Json:
    kind, search = resource["resourceType"], _search(resource)
    written = _rewritten({name: value for name, value in resource.items() if name != "id"}, taken)
    if _replaces(resource):
        request = {"method": "PUT", "url": f"{kind}?{search}"}
    else:
        request = {"method": "POST", "url": kind, "ifNoneExist": search}
    return {"fullUrl": url(resource["id"]), "resource": written, "request": request}


def _replaces(resource: Json) -> bool:
    """Return whether the resource takes the place of what the server has, rather than leaving that alone."""
    kind = resource["resourceType"]
    return kind in {"CodeSystem", "ValueSet"} or (kind == "Flag" and resource["status"] == "inactive")


def _search(resource: Json) -> str:
    """Return the search that finds this resource, and no other one."""
    match resource:
        case {"resourceType": "CodeSystem" | "ValueSet", "url": str(canonical)}:
            return f"url={quote(canonical, safe='')}"
        case {"identifier": [{"system": str(system), "value": str(value)}, *_]}:
            return f"identifier={quote(f'{system}|{value}', safe='')}"
        case {"meta": {"tag": [{"system": str(system), "code": str(code)}, *_]}}:
            return f"_tag={quote(f'{system}|{code}', safe='')}"
    raise ValueError(f"a {resource['resourceType']} has nothing to be found by")


def _rewritten(node: Any, taken: Mapping[str, str]) -> Any:
    """Return the node with the server's addresses in its references."""
    if isinstance(node, dict):
        return {
            name: taken.get(value, value) if name == "reference" else _rewritten(value, taken)
            for name, value in node.items()
        }
    return [_rewritten(each, taken) for each in node] if isinstance(node, list) else node
