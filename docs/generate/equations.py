r"""The equation of each method as its class computes it, in LaTeX: the data of the page `equations.md`.

An equation states what the code does, which may differ from the paper that it is after. When you change a formula in
`hf_ctkd`, change it here too; when you add a method, add an entry, or `tests/docs/test_equations.py` fails.
Symbols that are not explained in an entry are in `SYMBOLS`. `docs.generate.mathml` converts the LaTeX.
"""

from typing import NamedTuple


class Equation(NamedTuple):
    """What a method computes.

    Args:
        displays: equations in LaTeX, each on a line of its own.
        symbols: what the symbols mean, with shapes, in Markdown with LaTeX between dollar signs.
        numbers: of the equations in the paper, in Markdown too; only where a public source names them.
    """

    displays: tuple[str, ...]
    symbols: str
    numbers: str = ""


LOSSES = {
    "AFTLoss": Equation(
        (
            r"\mathcal{L} = w \sqrt{\frac{1}{n^2} \sum_{i,j} \left( K^{\text{s}}_{ij} - K^{\text{t}}_{ij} \right)^2 "
            r"+ 10^{-8}}",
            r"K_{ij} = \frac{\langle x_i - \bar{x}, x_j - \bar{x} \rangle}{\left\lVert x_i - \bar{x} \right\rVert \, "
            r"\left\lVert x_j - \bar{x} \right\rVert}",
            r"x_i = s_i \;\text{for}\; K^{\text{s}}, \qquad x_i = \left( \sigma(a^1) \odot f^1_i, \ldots, "
            r"\sigma(a^T) \odot f^T_i \right) \;\text{for}\; K^{\text{t}}",
        ),
        r"$w$ is `weight`; $K$ `[n, n]`; $\bar{x}$ is the mean over the batch; $a^t$ `[d_t]` is learned and 0 at "
        r"first; $\sigma$ is the sigmoid.",
    ),
    "BSSLoss": Equation(
        (r"\mathcal{L} = w \sum_{j=r-k+1}^{r} \sigma_j^2",),
        r"$w$ is `weight`, $k$ is `k`; $\sigma_1 \geq \ldots \geq \sigma_r$ are the singular values of $S / "
        r"\sqrt{n}$, with $S$ `[n, d_s]` the features of the batch and $r = \min(n, d_s)$.",
    ),
    "BTuningLoss": Equation(
        (
            r"\mathcal{L} = \frac{w}{n V} \sum_{i=1}^{n} \sum_{v=1}^{V} \left( \langle m^{\text{s}}_v, s_i \rangle - "
            r"\sum_{t=1}^{T} \alpha_t \langle m^t_v, f^t_i \rangle \right)^2",
            r"\alpha = \operatorname{softmax}_t \left( \frac{e_t}{\tau} \right)",
        ),
        r"$w$ is `weight`, $\tau$ is `temperature`; $m^t$ `[V, d_t]` is the posterior mean $m$ and $e_t$ the "
        r"value of [LogME](#equation-LogME) for teacher $t$; $m^{\text{s}}$ `[V, d_s]` is that of the student "
        r"before training, and stays fixed.",
    ),
    "CommitteeLoss": Equation(
        (
            r"\mathcal{L}_{\text{committee}} = \frac{w_{\text{f}} \, \kappa}{n} \sum_{i=1}^{n} \frac{\left\lVert s_i "
            r"- a_i \right\rVert^2}{\left\lVert s_i \right\rVert^2 + \left\lVert a_i \right\rVert^2}, \qquad a_i = "
            r"\sum_{t=1}^{T} \alpha_{it} A_t(f^t_i)",
            r"\mathcal{L}_{\text{task}} = -\frac{w_{\text{t}}}{n} \sum_{i=1}^{n} \sum_{v=1}^{V} r_{iv} \log "
            r"\operatorname{softmax}_v(h(a_i)), \qquad r_{iv} = [y_i = v] \;\text{if labelled, else}\; \kappa \, "
            r"\tau_{iv}",
            r"\alpha_{i} = \operatorname{softmax}_t \left( \log \, \alpha^0_t + \frac{\langle W \tilde{s}_i, e_t "
            r"\rangle}{16 \sqrt{d_s}} \right), \qquad \kappa = \sum_{t=1}^{T} w_t g_t",
        ),
        r"Third term: the loss of [RowTransportLoss](#equation-RowTransportLoss) with its targets $\tau$ `[n, "
        r"V]`. $w_{\text{f}}$ is `feature_weight`, $w_{\text{t}}$ is `task_weight`; $a$ `[n, d_s]` are the "
        r"answers, without gradient in the first term under `stop_gradient`; $A_t$ is a network with one hidden "
        r"layer over the standardised layers of teacher $t$ (and the question, if there is one); $h$ is the "
        r"student's head; $W$ `[16, d_s]` and $e_t$ `[16]` are learned, $\tilde{s}_i$ is $s_i$ with mean 0 and "
        r"variance 1, without gradient; $\alpha^0_t$ is in proportion to the [share](#equation-gain_shares) of "
        r"$g_t$ among the teachers plus 0.001; $w_t$ is the share of teacher $t$ in the probes of all members "
        r"and $g_t$ its information gain. Teachers that are not selected for a row have $\alpha_{it} = 0$ and "
        r"the others are scaled to sum to one. Without a `prior`: $\kappa = 1$, $\alpha^0_t = 1/T$, no third "
        r"term, and $r_{iv} = [y_i = v] / \lambda$ if labelled, else 0.",
    ),
    "InvertedProjectionLoss": Equation(
        (r"\mathcal{L} = \frac{w}{T M} \sum_{t=1}^{T} \sum_{m=1}^{M} d \left( N(s^m), N(f^{t,m} P_{t,m}) \right)",),
        r"$w$ is `weight`, $d$ is `distance`, $N$ is `normalise`; $P_{t,m}$ `[d_t, d_s]` is learned; $M$ is the "
        r"number of layer pairs, 1 where features are read. See [ProjectionLoss](#equation-ProjectionLoss).",
    ),
    "KLLoss": Equation(
        (
            r"\mathcal{L} = \frac{\tau^2}{n T} \sum_{i=1}^{n} \sum_{t=1}^{T} \sum_{v \in \mathcal{V}_t} b^t_{iv} "
            r"\left( \log \, \frac{b^t_{iv}}{\sum_{w \in \mathcal{V}_t} b^t_{iw}} - \log \, \frac{\exp(z_{iv} / "
            r"\tau)}{\sum_{w \in \mathcal{V}_t} \exp(z_{iw} / \tau)} \right)",
            r"b^t_{iv} = \sum_{u \to v} \operatorname{softmax}_u \left( \ell^t_i / \tau \right)",
        ),
        r"$\tau$ is `temperature`; $u \to v$ runs over the classes of teacher $t$ that are matched with the "
        r"target class $v$ (by name or `mapping`); $\mathcal{V}_t$ are the target classes with a match; $b^t$ "
        r"`[n, V]`.",
    ),
    "LabelMapLoss": Equation(
        (
            r"\mathcal{L} = \sum_{t=1}^{T} \phi_t \frac{1}{n} \sum_{i=1}^{n} \operatorname{KL} \left( p^t_i R^t "
            r"\,\|\, q_i \right), \qquad R^t_{uv} = \operatorname{softmax}_v \left( - \frac{C^t_{uv}}{\epsilon \max "
            r"C^t} \right)",
            r"\phi_t = \rho_t^{\gamma} \, \frac{\rho_t^{\gamma}}{\sum_{t'} \rho_{t'}^{\gamma}}",
        ),
        r"$C^t$ `[U_t, V]` is the label cost, $\rho_t$ the [relatedness](#equation-relatedness) of teacher $t$; "
        r"$\epsilon$ is `epsilon`, $\gamma$ is `gain_exponent`; $p^t_i$ and $q_i$ are taken at `temperature`; "
        r"$R^t$ `[U_t, V]`.",
    ),
    "LabelTransportLoss": Equation(
        (
            r"\mathcal{L} = \sum_{t=1}^{T} \phi_t \frac{1}{n} \sum_{i=1}^{n} \operatorname{OT}_{\epsilon} \left( "
            r"p^t_i, q_i; C^t \right)",
        ),
        r"$\operatorname{OT}_{\epsilon}$ is the value of [Sinkhorn](#equation-Sinkhorn); $C^t$ `[U_t, V]`, "
        r"$\phi_t$ and `temperature` as in [LabelMapLoss](#equation-LabelMapLoss); $\epsilon$ is `epsilon`.",
    ),
    "ProbeLoss": Equation(
        (
            r"\mathcal{L} = \frac{g}{n} \sum_{i=1}^{n} \omega_i \operatorname{KL} \left( \pi_i \,\|\, "
            r"\operatorname{softmax}(z_i / \tau) \right)",
        ),
        r"$\pi_i$ `[V]` is the posterior of all teachers' probes, the [log-mean](#equation-log_mean) of those of "
        r"each teacher's [layers](#equation-LayeredProbe) with its share by [information "
        r"gain](#equation-gain_shares); $g$ is the gain of that posterior on rows held out, clipped at 0; $\tau$ "
        r"is `temperature`.",
    ),
    "ProjectionLoss": Equation(
        (
            r"\mathcal{L} = \frac{w}{T M} \sum_{t=1}^{T} \sum_{m=1}^{M} d(a, b)",
            r"\text{inverted:}\; a = N(s^m),\; b = N(f^{t,m} P_{t,m}) \qquad \text{traditional, orthogonal:}\; a = "
            r"N(s^m P_{t,m}),\; b = N(f^{t,m})",
            r"N_{\text{batch}}(x)_{ij} = \frac{x_{ij} - \mu_j}{\sqrt{\sigma_j^2 + 10^{-4}}}",
        ),
        r"$w$ is `weight`, $d$ is `distance` (see [Distances](#distances)), $N$ is `normalise`; $P_{t,m}$ is "
        r"learned, without a bias, `[d_t, d_s]` if inverted, else `[d_s, d_t]`, and orthonormal ($P P^{\top} = "
        r"I$ where the teacher is at least as wide) for `orthogonal`; $M$ is the number of layer pairs, 1 where "
        r"features are read; $\mu_j, \sigma_j^2$ are mean and variance over the rows of the batch (times "
        r"positions). `layer` subtracts and divides within each row, on the teacher's side alone.",
    ),
    "RegressionProbeLoss": Equation(
        (
            r"\mathcal{L} = \frac{1}{n O} \sum_{i=1}^{n} \omega_i \sum_{k=1}^{O} R_k^2 \, e(z_{ik}, \hat{y}_{ik})",
            r"\text{identity:}\; e = (z - \hat{y})^2 \qquad \text{logistic:}\; e = \operatorname{KL} \left( "
            r"\operatorname{Bern}(\hat{y}) \,\|\, \operatorname{Bern}(\sigma(z)) \right)",
            r"\hat{y}_i = \sum_m w_m \left( x^m_i B_m + c_m \right), \qquad B_m = \left( X_m^{\top} X_m + \beta I "
            r"\right)^{-1} X_m^{\top} Y",
            r"R_k^2 = 1 - \frac{\sum_i \left( y_{ik} - \hat{y}^{-i}_{ik} \right)^2}{\sum_i \left( y_{ik} - "
            r"\bar{y}^{-i}_{k} \right)^2}",
        ),
        r"$O$ is the number of outputs; $m$ runs over all pooled layers and features of all teachers, $x^m_i$ "
        r"`[d_m]`; $B_m$ `[d_m, O]` is fitted on centred, standardised labelled rows, with the strength $\beta$ "
        r"out of `strengths` that does best in cross-fitting; $w_m$ is the [share](#equation-gain_shares) of its "
        r"$R^2$; $\hat{y}^{-i}$ and $\bar{y}^{-i}$ come from the folds that row $i$ is not in; $R_k^2$ is "
        r"clipped to `[0, 1]`, and $\hat{y}$ to `[0.01, 0.99]` for `logistic`.",
    ),
    "RelationshipMatchingLoss": Equation(
        (
            r"\mathcal{L}_1 = \frac{w_1}{T} \sum_{t=1}^{T} \frac{1}{|\mathcal{A}|} \sum_{(i,j) \in \mathcal{A}} "
            r"\operatorname{KL} \left( \operatorname{softmax}_{k \in \mathcal{T}_{ij}} \frac{-D^t_{ik}}{\tau_1} "
            r"\,\|\, \operatorname{softmax}_{k \in \mathcal{T}_{ij}} \frac{-D^{\text{s}}_{ik}}{\tau_1} \right)",
            r"\mathcal{T}_{ij} = \{ j \} \cup \left\{ k : y_k \neq y_i, \; D^{\text{s}}_{ij} < D^{\text{s}}_{ik} "
            r"\leq D^{\text{s}}_{ij} + \delta \right\}",
            r"\mathcal{L}_2 = \frac{w_2}{T} \sum_{t=1}^{T} \frac{1}{|\mathcal{R}_t|} \sum_{i \in \mathcal{R}_t} "
            r"\operatorname{KL} \left( \operatorname{softmax}_v \frac{\langle f^t_i, c^t_v \rangle}{\tau_2} \,\|\, "
            r"q_i \right), \qquad c^t_v = \frac{\sum_{i : y_i = v} f^t_i}{\left\lVert \sum_{i : y_i = v} f^t_i "
            r"\right\rVert}",
        ),
        r"$\mathcal{L}_1$ alone, without the task loss, in the first `embedding_share` of the steps, then "
        r"$\mathcal{L}_2$; $w_1$ is `embedding_weight`, $w_2$ is `weight`, $\tau_1$ and $\tau_2$ are "
        r"`embedding_temperature` and `classifier_temperature`, $\delta$ is `margin`; $D$ `[n, n]` are Euclidean "
        r"distances of features of length one; $\mathcal{A}$ are the pairs of labelled rows of one class with a "
        r"row in reach; $\mathcal{R}_t$ are the labelled rows, or all rows where teacher $t$ passes the gate "
        r"($|\mathcal{R}_t|$ is then $n$, else $\lambda n$); $c^t$ `[V, d_t]`.",
    ),
    "RowTransportLoss": Equation(
        (
            r"\mathcal{L} = \left( (1 - \eta) \, g^{\gamma} + \eta \right) \frac{1}{n} \sum_{i=1}^{n} \omega_i "
            r"\operatorname{KL} \left( \tau_i \,\|\, q_i \right)",
            r"\tau_i = \operatorname{softmax}_v \left( \frac{(1 - \eta) \log \, \pi_{iv} + \eta \log \, q_{iv} + "
            r"\psi_v}{\epsilon} \right)",
            r"\eta = \eta_{\max} \, g \, A, \qquad A = \frac{\sum_i \omega_i \langle \tau^0_i, q_i \rangle}{\sum_i "
            r"\omega_i}",
        ),
        r"$\pi$ `[n, V]` is the [log-mean](#equation-log_mean) of the probes of all teachers' "
        r"[layers](#equation-LayeredProbe) and of the input features; $\psi$ `[V]` is the potential of "
        r"[transport_rows](#equation-transport_rows) over all training rows, at the "
        r"[prior](#equation-estimate_prior) of the labels and a `prior_strength` times $\lambda$; $g$ is the "
        r"gain of $\pi$ on rows held out, $\gamma$ is `gain_exponent`, $\epsilon$ is `epsilon`, $\eta_{\max}$ is "
        r"`self_distillation`; $\tau^0$ is $\tau$ at $\eta = 0$, and $A$ is of the step before. $q$ in $\tau$ "
        r"has no gradient. `refit_rounds` times, the probes are fitted again to the labels and, in unlabelled "
        r"rows, to $g \, \tau^0$.",
    ),
    "SpectralLoss": Equation(
        (
            r"\text{ratio:}\; \mathcal{L} = w \, \frac{\sum_{j > r} \sigma_j^2}{\sum_{j} \sigma_j^2} \qquad "
            r"\text{else:}\; \mathcal{L} = w \sum_{j > r} h(\sigma_j)",
        ),
        r"$w$ is `weight`, $r$ is `rank`, or the number of classes; $\sigma_1 \geq \sigma_2 \geq \ldots$ are the "
        r"singular values of $S / \sqrt{n}$, with $S$ `[n, d_s]` the features of the batch less their mean "
        r"(unless `centred=False`); $h(\sigma)$ is $\sigma^2$ for `square`, $\sigma$ for `identity`, $\log(1 + "
        r"\sigma)$ for `log`.",
    ),
    "TeacherFreeLoss": Equation(
        (r"\mathcal{L} = \mathcal{L}_{\text{RowTransportLoss}}, \qquad \pi_i = P(\,\cdot \mid x_i)",),
        r"$x_i$ `[inputs]` are the student's input features and $P$ the posterior of their "
        r"[probe](#equation-FittedProbe), the only one; everything else as in "
        r"[RowTransportLoss](#equation-RowTransportLoss).",
    ),
    "WeightedSum": Equation(
        (r"\mathcal{L} = \sum_k w_k \mathcal{L}_k",),
        r"$w_k$ is the weight that was given to loss $k$, for each of its terms.",
    ),
}
"""Of every loss that `hf_ctkd.losses` exports."""

DISTANCES = {
    "l2": Equation((r"\frac{1}{n k} \sum_{i,j} (a_{ij} - b_{ij})^2",), ""),
    "logsum": Equation(
        (r"\log \left( \frac{1}{n} \sum_i \sum_j \left| a_{ij} - b_{ij} \right|^{\alpha} + 10^{-12} \right)",),
        r"$\alpha$ is `alpha`, 4.",
    ),
    "smooth_l1": Equation(
        (r"\frac{1}{n k} \sum_{i,j} H(a_{ij} - b_{ij})",),
        r"$H(x) = x^2 / 2$ where $\left| x \right| < 1$, else $\left| x \right| - 1/2$.",
    ),
    "cosine": Equation(
        (
            r"1 - \frac{1}{n} \sum_i \frac{\langle a_i, b_i \rangle}{\left\lVert a_i \right\rVert \, \left\lVert b_i "
            r"\right\rVert}",
        ),
        "",
    ),
    "vid": Equation(
        (r"\frac{1}{2 n k} \sum_{i,j} \left( \frac{(a_{ij} - b_{ij})^2}{\sigma_j^2} + \log \, \sigma_j^2 \right)",),
        r"$\sigma^2$ `[k]` is learned, 5 at first.",
    ),
    "at": Equation(
        (r"\frac{1}{n} \sum_i \left\lVert \hat{e}(a_i) - \hat{e}(b_i) \right\rVert^2",),
        r"$e(a_i)_p = \frac{1}{k} \sum_j a_{ipj}^2$ at each position $p$; $\hat{e} = e / \left\lVert e "
        r"\right\rVert$.",
    ),
    "pkt": Equation(
        (r"\frac{1}{n} \sum_{i,j} P_{ij} \log \, \frac{P_{ij} + 10^{-7}}{Q_{ij} + 10^{-7}}",),
        r"$P_{ij}$ of $b$ and $Q_{ij}$ of $a$ `[n, n]`: $(1 + \cos) / 2$ of rows $i$ and $j$, over its sum over "
        r"$j$.",
    ),
    "sp": Equation(
        (r"\frac{1}{n} \sum_i \left\lVert \hat{G}^a_i - \hat{G}^b_i \right\rVert^2",),
        r"$G^a = a a^{\top}$ `[n, n]`; $\hat{G}_i$ is row $i$ divided by its length.",
    ),
    "rkd": Equation(
        (
            r"\frac{1}{n^2} \sum_{i,j} H \left( D^a_{ij} - D^b_{ij} \right) + \frac{2}{n^3} \sum_{j,i,k} H \left( "
            r"\cos \, \angle^a_{jik} - \cos \, \angle^b_{jik} \right)",
        ),
        r"$D$ `[n, n]` are distances over their mean, $\angle_{jik}$ is the angle at row $j$ between rows $i$ "
        r"and $k$; $H$ as in `smooth_l1`.",
    ),
}
"""Of the distances of a projection loss, by the name under which they are chosen."""

COSTS = {
    "EmpiricalCost": Equation(
        (r"C_{uv} = 1 - \frac{n J_{vu} + \eta \, n_v / n}{n \sum_{v'} J_{v'u} + \eta}",),
        r"$J$ `[V, U]` is the [joint](#equation-joint) of label and predicted class; $\eta$ is `smoothing`; "
        r"$n_v$ is the number of rows of class $v$; $C$ `[U, V]`.",
    ),
    "PrototypeCost": Equation(
        (
            r"C_{uv} = \frac{1}{2} \left( 1 - \cos(c_u, c_v) \right), \qquad c_u = \frac{\sum_i p_{iu} \, (f_i - "
            r"\bar{f})}{\sum_i p_{iu}}, \qquad c_v = \frac{1}{n_v} \sum_{i : y_i = v} (f_i - \bar{f})",
        ),
        r"$c_u$ and $c_v$ `[d]` are centres of teacher and target classes; $\bar{f}$ is the mean feature; $C$ "
        r"`[U, V]`, 1/2 where a centre is zero.",
    ),
    "SemanticCost": Equation(
        (r"C_{uv} = \min \left( 1, 1 - \cos(e_u, e_v) \right)",),
        r"$e_u$ and $e_v$ are the embedded names of teacher and target classes: counts of character n-grams, or "
        r"a sentence encoder's (`model`); $C$ `[U, V]`.",
    ),
    "SharedCost": Equation(
        (
            r"C_{uv} = \frac{1}{2} \left( 1 - \cos(c_u - m, c_v - m) \right), \qquad m = \frac{1}{2} \left( "
            r"\frac{1}{U} \sum_u c_u + \frac{1}{V} \sum_v c_v \right)",
        ),
        r"$c_u$ and $c_v$ `[d]` are the mean features of each class under the reference encoder; $C$ `[U, V]`.",
    ),
    "joint": Equation(
        (r"J_{vu} = \frac{1}{n} \sum_{i=1}^{n} [y_i = v] \, p_{iu}",),
        r"$J$ `[V, U]` sums to one.",
    ),
    "relatedness": Equation(
        (
            r"\rho = \max \left( 0, 1 - \frac{\sum_i \log \, P^{-i}(y_i)}{\sum_i \log \, \pi^{-i}(y_i)} \right)",
            r"P^{-i}(v) = \sum_{u=1}^{U} p_{iu} \, \frac{n J_{vu} - p_{iu} + \eta \, \pi^{-i}(v)}{n \sum_{v'} "
            r"J_{v'u} - p_{iu} + \eta}, \qquad \pi^{-i}(v) = \frac{n_v - 1/2}{n - 1 + V / 2}",
        ),
        r"At $v = y_i$, so that row $i$ itself is left out; $J$ `[V, U]` is the [joint](#equation-joint), $\eta$ "
        r"is `smoothing`, $n_v$ the number of rows of class $v$.",
    ),
}
"""Of every label cost, and of what they share."""

METRICS = {
    "FOTCE": Equation(
        (
            r"-H(Y \mid Y^{\text{src}}) = \sum_{a,v} P_{av} \log \, \frac{P_{av}}{\sum_{v'} P_{av'}}, \qquad P_{av} "
            r"= \sum_{i : y^{\text{src}}_i = a} \; \sum_{j : y_j = v} \Pi_{ij}",
        ),
        r"$\Pi$ `[source rows, n]` is the plan of [CloudSinkhorn](#equation-CloudSinkhorn) between source and "
        r"target features; $P$ `[source classes, V]`, scaled to sum to one.",
    ),
    "GBC": Equation(
        (
            r"-\sum_{v \neq w} \exp(-B_{vw}), \qquad B_{vw} = \frac{1}{8} \sum_j \frac{(\mu_{vj} - "
            r"\mu_{wj})^2}{\bar{\sigma}_j^2} + \frac{1}{2} \sum_j \log \, \frac{\bar{\sigma}_j^2}{\sigma_{vj} \, "
            r"\sigma_{wj}}, \qquad \bar{\sigma}_j^2 = \frac{\sigma_{vj}^2 + \sigma_{wj}^2}{2}",
        ),
        r"$\mu_v$ and $\sigma_v^2$ `[components]` are mean and variance of class $v$ along the first "
        r"`components` principal components; `spherical` puts the mean over $j$ in the place of each "
        r"$\sigma_{vj}^2$; variances are at least 0.0001 of the mean square.",
    ),
    "HScore": Equation(
        (
            r"(1 - a) \sum_{v=1}^{V} \frac{n_v}{n} \, \mu_v^{\top} \left( (1 - a) \Sigma + a \, s I \right)^{-1} "
            r"\mu_v",
        ),
        r"$\mu_v$ `[d]` are the class means of the centred features, $\Sigma$ `[d, d]` their covariance, $s$ the "
        r"mean variance and $a$ the shrinkage of Ledoit and Wolf.",
        "(4) of Bao et al.",
    ),
    "InformationGain": Equation(
        (r"g = 1 - \frac{\sum_i \log \, P^{-i}(y_i)}{\sum_i \log \, \pi^{-i}(y_i)}",),
        r"$P^{-i}$ `[V]` is the posterior of the teacher's [layers](#equation-LayeredProbe) and $\pi^{-i}$ `[V]` "
        r"the [prior](#equation-estimate_prior), both from the folds that row $i$ is not in.",
    ),
    "LEEP": Equation(
        (
            r"\frac{1}{n} \sum_{i=1}^{n} \log \, \sum_{u=1}^{U} p_{iu} \, P(y_i \mid u), \qquad P(v \mid u) = "
            r"\frac{J_{vu}}{\sum_{v'} J_{v'u}}",
        ),
        r"$J$ `[V, U]` is the [joint](#equation-joint) of label and predicted class over the same rows.",
        "(2), with the empirical conditional of (1).",
    ),
    "LogME": Equation(
        (
            r"\frac{1}{n V} \sum_{v=1}^{V} \max_{\alpha, \beta} \; \frac{1}{2} \left( n \log \, \frac{\beta}{2 \pi} "
            r"- \beta \left\lVert F m - b_v \right\rVert^2 + d \log \, \alpha - \alpha \left\lVert m \right\rVert^2 "
            r"- \log \, \det A \right)",
            r"A = \alpha I + \beta F^{\top} F, \qquad m = \beta A^{-1} F^{\top} b_v",
        ),
        r"$F$ `[n, d]` are the features, divided by the root of their mean square; $b_v$ `[n]` is 1 in the rows "
        r"of class $v$, else 0; $\alpha$ and $\beta$ are the precisions of weights and noise, each within "
        r"`[1e-10, 1e10]`; $m$ `[d]` is the posterior mean.",
        "(2) is the value that is maximised.",
    ),
    "NCE": Equation(
        (
            r"-H(Y \mid Z) = \sum_{v,u} P_{vu} \log \, \frac{P_{vu}}{\sum_{v'} P_{v'u}}, \qquad P_{vu} = \frac{1}{n} "
            r"\sum_{i=1}^{n} [y_i = v] \, [\operatorname{argmax}_{u'} \ell_{iu'} = u]",
        ),
        r"$P$ `[V, U]` is the joint share of labels and most probable teacher classes.",
        "(7), with the joint of (6).",
    ),
    "NLEEP": Equation(
        (
            r"\frac{1}{n} \sum_{i=1}^{n} \log \, \sum_{k} r_{ik} \, P(y_i \mid k), \qquad P(v \mid k) = "
            r"\frac{\sum_{i : y_i = v} r_{ik}}{\sum_i r_{ik}}",
        ),
        r"$r$ `[n, clusters]` is the posterior of a Gaussian mixture with diagonal covariances on the principal "
        r"components that hold `variance` of the variance, with $\max(1, \min(k V, n / 5))$ clusters, rounded "
        r"down, $k$ being `clusters`.",
    ),
    "NearestNeighbour": Equation(
        (
            r"\frac{1}{n} \sum_{i=1}^{n} [y_{j(i)} = y_i], \qquad j(i) = \operatorname{argmax}_{j \notin "
            r"\mathcal{G}_i} \cos(f_i - \bar{f}, f_j - \bar{f})",
        ),
        r"$\mathcal{G}_i$ holds row $i$ and its copies; $\bar{f}$ `[d]` is the mean feature.",
    ),
    "OTCE": Equation(
        (
            r"- w_{\text{d}} \, \frac{\sum_{i,j} \Pi_{ij} \left\lVert f^{\text{src}}_i - f_j "
            r"\right\rVert^2}{\frac{1}{n} \sum_j \left\lVert f_j - \bar{f} \right\rVert^2} - w_{\text{t}} \, H(Y "
            r"\mid Y^{\text{src}})",
        ),
        r"$\Pi$ `[source rows, n]` and $H$ as in [FOTCE](#equation-FOTCE); $w_{\text{d}}$ is `domain_weight`, "
        r"$w_{\text{t}}$ is `task_weight`.",
    ),
    "PACTran": Equation(
        (
            r"-\left( L(\theta) + \frac{\left\lVert \theta \right\rVert^2}{2 n s} + \frac{k}{2 n} \log \left( 1 + "
            r"\frac{n s H}{k} \right) \right)",
            r"\theta = \operatorname{argmin}_{\theta} \; L(\theta) + \frac{\left\lVert \theta \right\rVert^2}{2 n "
            r"s}, \qquad H = \frac{1}{n} \sum_i \left( 1 + \left\lVert \tilde{x}_i \right\rVert^2 \right) \sum_v "
            r"P_{iv} (1 - P_{iv})",
        ),
        r"$L$ is the mean cross-entropy of $P_i = \operatorname{softmax}(\log (n_v / n) + \tilde{x}_i W + b)$, "
        r"$\theta = (W, b)$ has $k = (d + 1) V$ weights, $s$ is `prior_variance`; $\tilde{x}_i$ `[d]` are "
        r"features standardised as in [LinearProbe](#equation-LinearProbe).",
    ),
    "PARC": Equation(
        (
            r"100 \, \operatorname{corr} \left( \operatorname{rank} D^x, \operatorname{rank} D^y \right), \qquad "
            r"D_{ij} = 1 - \operatorname{corr}(x_i, x_j)",
        ),
        r"$\operatorname{corr}$ is Pearson's correlation, over all pairs $i < j$ on the left; $x_i$ "
        r"`[components]` are principal components of the features for $D^x$, and one-hot labels for $D^y$; of "
        r"more than 2,000 rows an even part is taken.",
    ),
    "SFDA": Equation(
        (
            r"\frac{1}{n} \sum_{i=1}^{n} \log \, P'(y_i \mid x'_i), \qquad x'_i = P(y_i \mid x_i) \, x_i + \left( 1 "
            r"- P(y_i \mid x_i) \right) \mu_{\neq y_i}",
            r"P(v \mid x) \propto n_v \exp \left( x^{\top} \Sigma^{-1} \mu_v - \frac{1}{2} \mu_v^{\top} \Sigma^{-1} "
            r"\mu_v \right), \qquad \Sigma = a I + (1 - a) W, \qquad a = \exp \left( -c \, \lambda_{\max}(W) \right)",
        ),
        r"$x_i$ `[d]` are the centred features over the root of their mean square; $\mu_v$ is the mean of class "
        r"$v$ and $\mu_{\neq v}$ that of all other rows; $W$ `[d, d]` is the covariance around the class means; "
        r"$c$ is `strength`, and $a$ at least 1e-10. $P'$ is $P$ with the means and covariance of the rows $x'$, "
        r"at the same $a$.",
        "(5) and (6) are $P$, (7) is $x'_i$, (1) the score and (3) the paper's form of $a$.",
    ),
    "TransRate": Equation(
        (
            r"R(F) - \sum_{v=1}^{V} \frac{n_v}{n} R(F_v), \qquad R(Z) = \frac{1}{2} \log \, \det \left( I + "
            r"\frac{Z^{\top} Z}{m \, \delta} \right)",
        ),
        r"$F$ `[n, d]` are the centred features, scaled to a mean squared length of one; $F_v$ are the rows of "
        r"class $v$; $m$ is the number of rows of $Z$; $\delta$ is `distortion`.",
    ),
    "TransportScore": Equation(
        (r"-\frac{1}{n} \sum_{i=1}^{n} \sum_{u=1}^{U} p_{iu} \, C^{-i}_{u y_i}",),
        r"$C^{-i}$ `[U, V]` is the label cost of the folds that row $i$ is not in. Onto a label only one plan "
        r"exists, so this is its cost.",
    ),
}
"""Of every metric that `hf_ctkd.metrics` exports."""

PROBES = {
    "FittedProbe": Equation(
        (
            r"P(v \mid f) = \operatorname{softmax}_v \left( \log \, \pi_v + \frac{\langle W_v, \tilde{f} \rangle + "
            r"b_v}{\tau} \right)",
        ),
        r"$\pi$ `[V]` is the [prior](#equation-estimate_prior) of the labels; $\tilde{f} = (f - \bar{f}) / "
        r"\text{scale}$ `[d]`; $W$ `[d, V]` and $b$ `[V]` as fitted by [LinearProbe](#equation-LinearProbe); "
        r"$\tau$ is the calibrated temperature.",
    ),
    "LinearProbe": Equation(
        (
            r"W, b = \operatorname{argmax} \; \sum_{i=1}^{n} \log \operatorname{softmax}_{y_i} \left( \log \, \pi + "
            r"\tilde{f}_i W + b \right) - \frac{\beta}{2} \left( \left\lVert W \right\rVert^2 + \left\lVert b "
            r"\right\rVert^2 \right)",
            r"\tilde{f}_{ij} = \frac{f_{ij} - \bar{f}_j}{\sqrt{d} \, \sqrt{\sigma_j^2 + 0.01 \, "
            r"\overline{\sigma^2}}}",
        ),
        r"$\beta$ is the one of `strengths`, and $1/\tau$ the share of the evidence, at which labelled rows are "
        r"most likely under probes of the other folds; $\sigma_j^2$ is the variance of feature $j$ and "
        r"$\overline{\sigma^2}$ its mean over the features, so that rows have a mean squared length of about "
        r"one.",
    ),
    "LayeredProbe": Equation(
        (
            r"\log \, P(v \mid i) = \log \operatorname{softmax}_v \sum_m w_m \log \, P_m(v \mid x^m_i), \qquad w_m = "
            r"\frac{g_m^4}{\sum_{m'} g_{m'}^4}",
        ),
        r"$m$ runs over the pooled layers of a teacher and what its head reads, $x^m_i$ `[d_m]`; $P_m$ is the "
        r"[posterior](#equation-FittedProbe) of the probe of each and $g_m$ its [information "
        r"gain](#equation-information_gain_of), at least 1e-6.",
    ),
    "gain_shares": Equation(
        (r"w_m = \frac{\max(g_m, 10^{-6})^{\gamma}}{\sum_{m'} \max(g_{m'}, 10^{-6})^{\gamma}}",),
        r"$g$ `[members]` are information gains; $\gamma$ is `gain_exponent`, 4 in the losses.",
    ),
    "log_mean": Equation(
        (r"\log \, P_i = \log \operatorname{softmax} \sum_m w_m \log \, P_{m,i}",),
        r"$P_{m,i}$ `[V]` is the posterior of member $m$ for row $i$; $w$ `[members]` sums to one.",
    ),
    "information_gain_of": Equation(
        (r"g = 1 - \frac{\sum_i \log \, P^{-i}(y_i)}{\sum_i \log \, \pi^{-i}(y_i)}",),
        r"$P^{-i}$ `[V]` is a posterior and $\pi^{-i}$ `[V]` the [prior](#equation-estimate_prior) of labelled "
        r"row $i$, both from the folds that the row is not in.",
    ),
    "estimate_prior": Equation(
        (
            r"\pi_v = (1 - a) \, \frac{n_v}{n} + \frac{a}{V}, \qquad a = \frac{1 - \sum_v (n_v / n)^2}{(n - 1) "
            r"\sum_v (n_v / n - 1 / V)^2}",
        ),
        r"$n_v$ of the $n$ labelled rows are of class $v$; $a$ is held within `[1 / (n + 1), 1]`.",
    ),
}
"""Of the probes and of what their targets are made of."""

SOLVERS = {
    "Sinkhorn": Equation(
        (
            r"\operatorname{OT}_{\epsilon}(a, b; C) = \min_{P \in \mathcal{U}(a, b)} \; \langle P, C \rangle + "
            r"\epsilon' \operatorname{KL} \left( P \,\|\, a b^{\top} \right), \qquad \epsilon' = \epsilon \max C",
            r"P_{ij} = a_i b_j \exp \left( \frac{f_i + g_j - C_{ij}}{\epsilon'} \right)",
            r"\frac{\partial \operatorname{OT}_{\epsilon}}{\partial a} = f - \langle a, f \rangle, \qquad "
            r"\frac{\partial \operatorname{OT}_{\epsilon}}{\partial b} = g - \langle b, g \rangle",
        ),
        r"$a$ `[n]` and $b$ `[m]` are the marginals, $C$ `[n, m]` the cost, and $\mathcal{U}(a, b)$ the plans $P "
        r"\geq 0$ with $P 1 = a$ and $P^{\top} 1 = b$; $f$ and $g$ are `potentials`, found by scaling $u = a / "
        r"(K v)$, $v = b / (K^{\top} u)$ with $K = \exp(-C / \epsilon')$, and by Newton steps where that is "
        r"slow. With `tau_a`, `tau_b` a marginal is not a condition but costs $\tau_a \max C \; "
        r"\operatorname{KL}(P 1 \,\|\, a)$, and the same for $b$.",
        '(4.15) of Peyré and Cuturi, "Computational optimal transport", 2019, is the scaling.',
    ),
    "CloudSinkhorn": Equation(
        (
            r"\min_{P \in \mathcal{U}(1/n, 1/m)} \; \sum_{i,j} P_{ij} \left\lVert x_i - y_j \right\rVert^2 + "
            r"\epsilon' \operatorname{KL} \left( P \,\|\, \frac{1}{n m} \right), \qquad P_{ij} = \frac{1}{n m} \exp "
            r"\left( \frac{f_i + g_j - \left\lVert x_i - y_j \right\rVert^2}{\epsilon'} \right)",
        ),
        r"$x$ `[n, width]` and $y$ `[m, width]` are the clouds, each point with equal mass; $\epsilon' = "
        r"\epsilon \max_{i,j} \left\lVert x_i - y_j \right\rVert^2$.",
    ),
    "transport_rows": Equation(
        (
            r"\min_{P 1 = 1/n} \; -\sum_{i,v} P_{iv} \log \, \pi_{iv} + \epsilon \sum_{i,v} P_{iv} \log \, P_{iv} + "
            r"\kappa \operatorname{KL} \left( P^{\top} 1 \,\|\, b \right)",
            r"n P_{iv} = \operatorname{softmax}_v \left( \frac{\log \, \pi_{iv} + \psi_v}{\epsilon} \right), \qquad "
            r"\sum_i P_{iv} = b_v \exp(-\psi_v / \kappa)",
        ),
        r"$\log \, \pi$ `[n, V]` is `log_posterior`, $b$ `[V]` is `prior`, $\epsilon$ is `epsilon`, $\kappa$ is "
        r"`prior_strength` (infinite: the class shares are $b$ exactly); $\psi$ `[V]` is `potential`.",
    ),
    "exact": Equation(
        (r"\min_{P \in \mathcal{U}(a, b)} \; \langle P, C \rangle",),
        r"Symbols as in [Sinkhorn](#equation-Sinkhorn), without entropy.",
    ),
}
"""Of the solvers of optimal transport."""

EQUATIONS = {"losses": LOSSES, "costs": COSTS, "metrics": METRICS, "probes": PROBES, "ot": SOLVERS}
"""Module of `hf_ctkd` -> name -> equation."""

SYMBOLS = {
    r"$i, j = 1, \ldots, n$": "rows: of a batch in losses, labelled rows of the target in costs, metrics and probes",
    r"$y_i$, $v = 1, \ldots, V$": "label of a row and the target's classes; $n_v$ rows are of class $v$",
    r"$t = 1, \ldots, T$": "teachers; $t$ is left out where there is one",
    r"$u = 1, \ldots, U_t$": "classes of teacher $t$",
    r"$s_i$ `[d_s]`, $z_i$ `[V]`": r"features and logits of the student; $q_i = \operatorname{softmax}(z_i)$",
    r"$f^t_i$ `[d_t]`, $\ell^t_i$ `[U_t]`": r"those of a teacher; $p^t_i = \operatorname{softmax}(\ell^t_i)$",
    r"$\lambda$, $\omega_i$": r"share of labelled training rows; weight of a row: 1 without a label, else "
    r"$\min(\lambda, 0.3)$",
    r"$\operatorname{KL}(p \,\|\, q)$": r"$\sum_v p_v \log (p_v / q_v)$, for plans of transport $- p_v + q_v$ as well",
    r"$[\ldots]$, $\odot$": "1 if the statement holds, else 0; product of each entry",
    r"$P^{-i}$": "estimated on the folds of a cross-fitting that row $i$ is not in",
}
"""Symbol with its shape -> meaning, for the top of the page."""
