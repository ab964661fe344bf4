"""Teachers: sources of signals for a batch, from a frozen model to deliberately bad controls."""

from didact.teachers.base import BaseTeacher
from didact.teachers.cached import CachedTeacher
from didact.teachers.cascade import CascadeTeacher
from didact.teachers.classes import align, check_classes, suspicious_order
from didact.teachers.committee import Committee
from didact.teachers.controls import AdversarialTeacher, NoisyTeacher, RandomTeacher
from didact.teachers.ema import AveragingMethod, EmaTeacher, LaggingTeacher
from didact.teachers.encoder import EncoderTeacher
from didact.teachers.estimator import EstimatorTeacher, load_skops
from didact.teachers.files import PICKLED, check_not_pickled
from didact.teachers.frozen import FrozenTeacher
from didact.teachers.function import FunctionTeacher
from didact.teachers.language import LanguageTeacher, snapshot
from didact.teachers.merged import MergedTeacher
from didact.teachers.on_demand import OnDemandTeacher
from didact.teachers.onnx_file import OnnxTeacher
from didact.teachers.peers import PeerTeacher
from didact.teachers.row_texts import RowTextTeacher, row_texts
from didact.teachers.self_labelling import SelfLabellingMethod
from didact.teachers.series import RawSeries, reader_of
from didact.teachers.specialists import ClassGroups, committee_members, committees, teacher_net, unwrap
from didact.teachers.stored import StoredTeacher
from didact.teachers.tables import RawRows, TranslatedTeacher, translate
from didact.teachers.transparent import TransparentTeacher
from didact.teachers.tuned import TunedTeacher
from didact.teachers.verifiers import FunctionVerifier, Verifier, try_verifier
from didact.teachers.weighing import mixture_shares, skill_weights

__all__ = [
    "PICKLED",
    "AdversarialTeacher",
    "AveragingMethod",
    "BaseTeacher",
    "CachedTeacher",
    "CascadeTeacher",
    "ClassGroups",
    "Committee",
    "EmaTeacher",
    "EncoderTeacher",
    "EstimatorTeacher",
    "FrozenTeacher",
    "FunctionTeacher",
    "FunctionVerifier",
    "LaggingTeacher",
    "LanguageTeacher",
    "MergedTeacher",
    "NoisyTeacher",
    "OnDemandTeacher",
    "OnnxTeacher",
    "PeerTeacher",
    "RandomTeacher",
    "RawRows",
    "RawSeries",
    "RowTextTeacher",
    "SelfLabellingMethod",
    "reader_of",
    "row_texts",
    "StoredTeacher",
    "TranslatedTeacher",
    "TransparentTeacher",
    "TunedTeacher",
    "Verifier",
    "align",
    "check_classes",
    "check_not_pickled",
    "load_skops",
    "mixture_shares",
    "committee_members",
    "committees",
    "teacher_net",
    "skill_weights",
    "snapshot",
    "suspicious_order",
    "translate",
    "try_verifier",
    "unwrap",
]
