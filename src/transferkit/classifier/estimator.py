"""scikit-learn's conventions without importing it ("Developing scikit-learn estimators" in its developer guide)."""

from __future__ import annotations

import inspect

from typing_extensions import Self

from ..errors import bad_argument, shown_url


class Estimator:
    """The base of a class whose constructor only stores its arguments, under their names."""

    def get_params(self, deep: bool = True) -> dict[str, object]:  # noqa: ARG002  # scikit-learn passes it
        """The constructor's arguments by name, as scikit-learn's estimators give them."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: object) -> Self:
        """Change arguments of the constructor, which later calls check and use.

        A network that is already fitted does not change, and `save` writes what was fitted.

        Raises:
            InvalidInputError: the constructor has no such argument.
        """
        names = self._defaults()
        for name, value in params.items():
            if name not in names:
                raise bad_argument(name, value, "is not an argument of this class", f"Pass one of {', '.join(names)}")
            setattr(self, name, value)
        return self

    @classmethod
    def _defaults(cls) -> dict[str, object]:
        return {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}

    def __sklearn_is_fitted__(self) -> bool:
        return "_fitted" in self.__dict__

    def __sklearn_tags__(self) -> object:  # scikit-learn itself asks for them
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=False),
        )

    def __repr__(self) -> str:
        changed = [name for name, default in self._defaults().items() if getattr(self, name) != default]
        return f"{type(self).__name__}({', '.join(f'{name}={self._described(name)}' for name in changed)})"

    def _described(self, name: str) -> str:
        """An argument as `repr` shows it."""
        return shown_url(repr(getattr(self, name)))
